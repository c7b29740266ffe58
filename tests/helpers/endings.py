"""A processor that leaves everything to vlframe but where answers end."""


class Ends:
    def __init__(self, *stops: str) -> None:
        self.stop_strings = list(stops)

    def timeline(self, media: object, source: object) -> None:
        return None

    read = timeline

    def write(self, *given: object, **more: object) -> None:
        return None

    def repeatable(self, media: object) -> bool:
        return True

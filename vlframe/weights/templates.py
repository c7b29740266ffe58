"""Compiles templates of tensor names (see ``contracts/tensor_names.py``) to regular expressions, and fills them."""

import re
from collections.abc import Mapping
from functools import cached_property

FIELD = re.compile(r"\{(\w+)(?::(int|path))?\}")
# Placeholders that occur in no file: a word, a number and a path, each matched by any field of its kind.
WORD, NUMBER, PATH = "\x01", "\x02", "\x03"
PATTERNS = {None: rf"[^.{PATH}]+", "int": rf"(?:0|[1-9][0-9]*|{NUMBER})", "path": r".+"}
STAND_INS = {None: WORD, "int": NUMBER, "path": PATH}


class Template:
    """A compiled template."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kinds: dict[str, str | None] = {}
        pattern, end = "", 0
        for match in FIELD.finditer(text):
            name, kind = match.groups()
            assert name not in self.kinds, f"template {text!r} has the field {name!r} twice"
            self.kinds[name] = kind
            pattern += re.escape(text[end : match.start()]) + f"(?P<{name}>{PATTERNS[kind]})"
            end = match.end()
        self.pattern = re.compile(pattern + re.escape(text[end:]), re.DOTALL)

    def match(self, name: str) -> dict[str, str] | None:
        """Return the fields of a name, or None if the template does not match it."""
        found = self.pattern.fullmatch(name)
        return found.groupdict() if found else None

    def fill(self, fields: Mapping[str, str]) -> str:
        """Return the name with these fields; fields not given keep their placeholder."""
        return FIELD.sub(lambda match: fields.get(match.group(1), match.group()), self.text)

    @cached_property
    def sample(self) -> str:
        return self.fill({name: STAND_INS[kind] for name, kind in self.kinds.items()})

    def covers(self, other: "Template") -> bool:
        """Return whether this template matches every name that ``other`` matches."""
        return self.match(other.sample) is not None

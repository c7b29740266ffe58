"""The table of kinds of component. Adding a kind touches this table, its contract and its checks only."""

from __future__ import annotations

from dataclasses import dataclass

from vlframe.contracts.modalities import MODALITIES


@dataclass(frozen=True)
class Kind:
    """A kind of component.

    ``contract`` is the path of its protocol (None: its users define what is called). ``neighbours`` are the keyword
    arguments that come from neighbouring parts instead of a config; ``offered`` are given as well to a class that
    takes them, which it does with a default. ``place`` is where a run's config holds the chosen component (None: it
    is chosen by a command, or inside another component's parameters). ``many``: a run holds any number of them
    there, by name.
    """

    name: str
    contract: str | None
    neighbours: tuple[str, ...] = ()
    place: str | None = None
    many: bool = False
    offered: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """Return the config group in which it is chosen."""
        return self.place if self.many and self.place else self.name


_CONTRACTS = "vlframe.contracts"
_BETWEEN = ("in_dim", "out_dim")

_TABLE = (
    Kind("encoder", f"{_CONTRACTS}.encoder:Encoder", place="encoder"),
    Kind("connector", f"{_CONTRACTS}.connector:Connector", _BETWEEN, "connector"),
    Kind("audio_encoder", f"{_CONTRACTS}.encoder:AudioEncoder", place="audio_encoder"),
    Kind("audio_connector", f"{_CONTRACTS}.connector:AudioConnector", _BETWEEN, "audio_connector"),
    Kind("llm", f"{_CONTRACTS}.language_model:LanguageModel", place="llm"),
    Kind("pixels", f"{_CONTRACTS}.front_ends:PixelFrontEnd", ("own",), "pixels"),
    Kind("sampler", f"{_CONTRACTS}.sampler:Sampler", ("frames",), "media.sampler"),
    Kind("reader", f"{_CONTRACTS}.reader:Reader", place="reader"),
    Kind("objective", f"{_CONTRACTS}.objective:Objective", place="objective"),
    Kind("processor", f"{_CONTRACTS}.processor:Processor", place="processor"),
    Kind("dataset", f"{_CONTRACTS}.sample:Dataset", place="dataset", offered=("moved",)),
    Kind("benchmark", f"{_CONTRACTS}.benchmark:Benchmark", place="benchmark"),
    Kind("checkpoint_format", f"{_CONTRACTS}.checkpoint_format:CheckpointFormat"),
    Kind("callback", None, place="callbacks", many=True),  # Lightning's contracts
    Kind("logger", None, place="logger", many=True, offered=("save_dir", "version")),
)


def first_party_kinds() -> frozenset[str]:
    """Return the names of the kinds that there are without plugins."""
    return frozenset(kind.name for kind in _TABLE)


def kinds() -> dict[str, Kind]:
    """Return every kind by name, in listing order, including those of plugins' modalities."""
    table = {kind.name: kind for kind in _TABLE}
    for modality in MODALITIES.values():
        table.setdefault(modality.encoder, Kind(modality.encoder, None, place=modality.encoder))
        table.setdefault(modality.connector, Kind(modality.connector, None, _BETWEEN, modality.connector))
    return table

"""Checks of checkpoint formats: what their names map to, and a checkpoint that is written and read again."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from vlframe.contracts.checkpoint_format import MAIN_SOURCE, ExportRequest, ImportedCheckpoint
from vlframe.errors import UserError, named_line
from vlframe.testing.subject import Subject

STRANGE = {
    "empty": "an empty folder, in which there is no checkpoint,",
    "broken": "a folder with half a config.json",
    "foreign": "a folder with config.json and model.safetensors of another project",
    "words.txt": "a text file",
    "absent": "a folder that is not there",
}


def check_checkpoint_format(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
    hf_config: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
) -> None:
    """Check a checkpoint format. With ``tensors`` under the other project's names, and the ``config`` of their parts, a
    checkpoint is written and read again; ``hf_config`` is that of its language model.
    """
    from vlframe.weights.names import NameTable

    subject = Subject("checkpoint_format", component, params or {}, plugins)
    fmt = subject.build()
    sources = subject.attribute(
        fmt, "sources", Mapping, "what a checkpoint is made of: {name: words}, in reading order"
    )
    if MAIN_SOURCE not in sources:
        subject.fail(
            f"sources has {', '.join(sources) or 'nothing'}; {MAIN_SOURCE!r}, the checkpoint itself, is missing"
        )
    if bad := [key for key, words in sources.items() if not isinstance(words, str) or not words.strip()]:
        subject.fail(f"sources has no words for {', '.join(map(str, bad))}; people read them who look for a file")
    subject.passed("sources: named and described")
    _check_recognises(subject, fmt)
    if config is None or tensors is None:
        subject.left_out("no checkpoint was written and read again: give config= and tensors= to the check")
        return
    with subject.doing("names()"):
        table = NameTable(fmt.names(config))
    _check_names(subject, table, tensors)
    _check_written(subject, fmt, ExportRequest(config, dict(tensors), None, {}, _plain(hf_config)))


def _plain(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if config is None else dict(config)


def _check_recognises(subject: Subject, fmt: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty").mkdir()
        (folder / "broken").mkdir()
        (folder / "broken" / "config.json").write_text("{", encoding="utf-8")
        (folder / "foreign").mkdir()
        (folder / "foreign" / "config.json").write_text('{"architecture": "of_somebody_else"}', encoding="utf-8")
        save_file({"of.somebody.else": torch.zeros(1)}, folder / "foreign" / "model.safetensors")
        (folder / "words.txt").write_text("no checkpoint\n", encoding="utf-8")
        for strange, words in STRANGE.items():
            try:
                with subject.doing(f"recognises() of {words}", refusals=True):
                    answer = fmt.recognises(folder / strange)
            except UserError:  # a file that cannot be read is named
                continue
            if answer:
                subject.fail(f"recognises() takes {words} for one of its own")
        try:
            fmt.read({MAIN_SOURCE: folder / "empty"})
        except (UserError, OSError):
            pass
        except Exception as error:
            subject.fail(f"read() of an empty folder raises {named_line(error)}; it must be a vlframe error")
        else:
            subject.fail("read() of an empty folder gives a checkpoint; it must raise a vlframe error")
    subject.passed("folders that hold no checkpoint are not recognised, and refused")


def _check_names(subject: Subject, table: Any, tensors: Mapping[str, Tensor]) -> None:
    with subject.doing("mapping names to our own and back"):
        canonical = {table.canonical(name) or name: tensor for name, tensor in tensors.items()}
        parts = table.join(canonical)
        back = table.split({part: {key: item.tensor for key, item in held.items()} for part, held in parts.items()})
    if lost := sorted(set(canonical) ^ set(back)):
        subject.fail(f"names do not map back to themselves: {', '.join(lost[:4])}")
    subject.passed("names map to our own and back")


def _check_written(subject: Subject, fmt: Any, request: ExportRequest) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "checkpoint"
        with subject.doing("write()"):
            fmt.write(folder, request)
        with subject.doing("recognises() of what write() has written"):
            known = fmt.recognises(folder)
        if not known:
            subject.fail("recognises() does not know what write() has written")
        with subject.doing("read() of what write() has written"):
            found = fmt.read({MAIN_SOURCE: folder})
        if not isinstance(found, ImportedCheckpoint):
            subject.fail(f"read() gives a {type(found).__name__}; it must give a vlframe.ImportedCheckpoint")
        if changed := sorted(_unlike(request.tensors, {key: item.tensor for key, item in found.tensors.items()})):
            subject.fail(f"write() and read() change {', '.join(changed[:4])}")
    subject.passed("a checkpoint that is written is recognised, and reads as it was")


def _unlike(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> set[str]:
    both = wanted.keys() & found.keys()
    return (wanted.keys() ^ found.keys()) | {
        key for key in both if wanted[key].dtype != found[key].dtype or not torch.equal(wanted[key], found[key])
    }

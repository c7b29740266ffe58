"""Replay recorded outputs of the official code on ours.

A recording is ``NAME.safetensors`` with ``NAME.json`` beside it: ``w/<official name>`` are weights, ``pix/`` and
``fbank/`` inputs, ``vision/``, ``beats/`` and ``case/<case>/`` outputs. It is written as an official folder, converted
by ``vlframe.convert``, loaded by ``vlframe.load``, and run on the recorded questions, like any checkpoint.

B batch, S sequence, N media tokens, E embedding, V vocabulary, T frames, C colours, Y X pixels, F audio frames.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import vlframe
from vlframe import (
    Batch,
    Comparison,
    MediaFile,
    MediaUse,
    NameTable,
    SquarePixels,
    WeightsError,
    padded_layout,
    place,
    read_json,
    read_tensors,
)
from vlframe_videollama2.names import NAMES
from vlframe_videollama2.recording import other_sources, tensors_of, write_official

TAGS = {-200: "image", -201: "video", -202: "audio"}  # official ids of <image>, <video>, <audio>
UNLABELLED = -100
PLACEHOLDER = -1  # any negative id; the model only needs their positions

FEATURES = 1e-4  # of towers and connector outputs, whose largest values are of the order of 10
EXACT = 1e-6  # of weights that are only concatenated
LOGITS = 2e-4
LOSS = 1e-5
GRADIENT = 1e-3  # of the norm of the whole gradient of a tensor
UNUSED = "not run: the model does not use it"


def verify(recording: Path) -> Iterator[Comparison]:
    """Yield every recorded output with ours."""
    replay = Replay(recording)
    yield from replay.vision()
    yield from replay.beats()
    for case in replay.about["cases"]:
        yield from replay.case(case)


class RecordedPixels(SquarePixels):
    """The front end of an encoder with recorded pixels, which are normalised already."""

    def normalise(self, frames_TCYX: Tensor) -> Tensor:
        return frames_TCYX


class Replay:
    """One recording, converted and loaded."""

    def __init__(self, recording: Path) -> None:
        about = recording.with_suffix(".json")
        if not about.is_file():
            raise WeightsError(f"{recording} has no {about.name} beside it, which says what was recorded")
        self.about: dict[str, Any] = read_json(about)
        self.recorded = read_tensors(recording)
        with TemporaryDirectory() as folder:
            official, ours = Path(folder, "official"), Path(folder, "ours")
            write_official(official, self.about, self.recorded)
            vlframe.convert(official, ours, sources=other_sources(official), format="videollama2")
            self.model = vlframe.load(ours, device="cpu").model.float().eval()
        self.model.requires_grad_(True)
        self.parts: dict[str, Any] = self.model.parts
        self.parts["encoder"].requires_grad_(False)  # as in the official training
        video: Any = self.model.branches["video"]
        video.pixels = RecordedPixels(**vars(video.pixels))

    def vision(self) -> Iterator[Comparison]:
        pixels = self.recorded.get("pix/video0")
        if pixels is None:
            return
        encoder = self.parts["encoder"]
        with torch.no_grad():
            features_THWD = encoder(pixels.float()[None])[0]
            inside = encoder.intermediates(pixels.float()[None])
        yield self._compare("vision/features", features_THWD.flatten(1, 2), FEATURES)
        yield self._compare("vision/hidden_state_0", inside["hidden_state_0"], FEATURES)
        for name in ("vision/last_hidden_state", "vision/pooler_output"):
            if name in self.recorded:
                yield Comparison(name, None, 0.0, UNUSED)

    def beats(self) -> Iterator[Comparison]:
        if "beats/features" not in self.recorded:
            return
        tower = self.parts["audio_encoder"]
        fbank_BFM = torch.cat([self.recorded[name] for name in tensors_of(self.about["beats"]["input"])]).float()
        with torch.no_grad():
            features_BAD = tower(fbank_BFM)
            ours = {
                "features": (features_BAD, FEATURES),
                "projected": (self.parts["audio_connector"](features_BAD), FEATURES),
                **{name: (value, EXACT) for name, value in tower.intermediates(fbank_BFM).items()},
            }
        for name in sorted(self.recorded):
            kind, _, what = name.partition("/")
            if kind == "beats" and what in ours:
                yield self._compare(name, *ours[what])
            elif kind == "beats":
                yield Comparison(name, None, 0.0, BEATS_NOTES.get(what, UNUSED))

    def case(self, case: str) -> Iterator[Comparison]:
        at = f"case/{case}"
        ids_BS = self.recorded[f"{at}/input_ids"]
        mask_BS = self.recorded[f"{at}/attention_mask"].bool()
        labels_BS = self.recorded.get(f"{at}/labels")
        batch = self.batch(ids_BS, mask_BS, labels_BS, self.about["cases"][case]["images"])
        with torch.no_grad():
            features = self.model.encode(batch.files)
            media_NE = self.model.connect(features, batch.uses)
            embeds_BSE = place(self.model.llm.embed(batch.ids_BS), media_NE, batch.slots_N)
            logits_BSV = self.model.llm.logits(self.model.llm(embeds_BSE, batch.layout))
        tokens = [] if media_NE is None else list(media_NE.split([use.tokens for use in batch.uses]))
        real_BS = batch.layout.mask_BS
        if f"{at}/mm_features" in self.recorded:
            yield self._features(f"{at}/mm_features", tokens)
        if f"{at}/inputs_embeds" in self.recorded:
            yield self._compare(f"{at}/inputs_embeds", embeds_BSE, FEATURES, real_BS)
        if f"{at}/attention_mask_out" in self.recorded:
            yield self._compare(f"{at}/attention_mask_out", real_BS.float(), 0.0)
        if f"{at}/labels_out" in self.recorded:
            yield self._compare(f"{at}/labels_out", labels_of(batch).float(), 0.0)
        yield self._compare(f"{at}/logits", logits_BSV, LOGITS, real_BS)
        if f"{at}/loss" in self.recorded:
            yield from self._loss(at, case, batch)
        if f"{at}/generated" in self.recorded:
            yield self._generated(f"{at}/generated", batch)

    def batch(self, ids_BS: Tensor, mask_BS: Tensor, labels_BS: Tensor | None, images: list[Any] | None) -> Batch:
        """Build our batch for official ids: each tag becomes as many placeholders as its files have tokens."""
        queue = [self._items(*image) for image in images or []]
        rows: list[Any] = []
        files: list[Any] = []
        uses: list[Any] = []
        for row, mask in enumerate(mask_BS):
            ids, labels = [], []
            kept = ids_BS[row][mask].tolist()
            said = labels_BS[row][mask].tolist() if labels_BS is not None else [UNLABELLED] * len(kept)
            if not any(token in TAGS for token in kept) and queue:
                queue.pop(0)  # the dummy image of the official code for a row without media
            for token, label in zip(kept, said, strict=True):
                items = queue.pop(0) if token in TAGS else []
                for file, tokens in items:
                    uses.append(MediaUse(len(files), tokens))
                    files.append(file)
                count = sum(tokens for _, tokens in items)
                ids += [PLACEHOLDER] * count if items else [token]
                labels += [UNLABELLED] * count if items else [label]
            rows.append((ids, labels))
        return batch_of(rows, tuple(files), tuple(uses))

    def _items(self, what: str | dict[str, str], kind: str) -> list[tuple[MediaFile, int]]:
        """Return the media of one tag with their tokens: a video with sound is two, one after the other."""
        if isinstance(what, dict):
            return [item for name, spec in what.items() for item in self._items(spec, name)]
        tensor = self._input(what).float()
        if kind == "audio":
            tensor = tensor.squeeze(0)
        elif tensor.ndim != 4:
            tensor = tensor[None]
        branch = self.model.branches["audio" if kind == "audio" else "video"]
        return [(MediaFile(kind, tensor, (kind, what)), branch.tokens(kind, tuple(tensor.shape)))]

    def _input(self, spec: str) -> Tensor:
        """Return a recorded input, or one given by an expression: ``flip(pix/video0, dim 0)``, ``zeros(3,S,S)``."""
        if flip := re.fullmatch(r"flip\((.+), dim (-?\d+)\)", spec):
            return self.recorded[flip.group(1)].flip(int(flip.group(2)))
        if zeros := re.fullmatch(r"zeros\((.+)\)", spec):
            size = self.about["vision_config"]["image_size"]
            return torch.zeros([size if item.strip() == "S" else int(item) for item in zeros.group(1).split(",")])
        return self.recorded[spec]

    def _loss(self, at: str, case: str, batch: Batch) -> Iterator[Comparison]:
        self.model.zero_grad()
        loss = self.model(batch)
        mean = loss.total / loss.tokens
        yield self._compare(f"{at}/loss", mean.detach().reshape(1), LOSS)
        norms = self.about["cases"][case].get("grad_l2_norms")
        if not norms:
            return
        mean.backward()
        gradients = self._gradients()
        for name in sorted(item for item in self.recorded if item.startswith(f"{at}/grad")):
            kind, official = name.removeprefix(f"{at}/").split("/", 1)
            ours = gradients[self.about.get("tied_aliases", {}).get(official, official)]
            if strided := re.fullmatch(r"grad_strided(\d+)", kind):
                ours = ours.flatten()[:: int(strided.group(1))][:4096]
            yield self._compare(name, ours, GRADIENT * max(float(norms[official]), 1e-6))
        yield self._norms(f"{at}/grad_l2_norms", norms, gradients)

    def _norms(self, name: str, norms: dict[str, float | None], gradients: dict[str, Tensor]) -> Comparison:
        """Compare the norm of every gradient, relative to itself, or to a millionth of the whole gradient if that is
        more: a bias before a softmax over its keys has zero gradient, of which only rounding was recorded."""
        aliases = self.about.get("tied_aliases", {})  # a tensor of two names has one gradient
        recorded = {official: norm for official, norm in norms.items() if norm is not None and official not in aliases}
        floor = 1e-6 * sum(norm**2 for norm in recorded.values()) ** 0.5
        errors = {
            official: abs((float(gradients[official].norm()) if official in gradients else 0.0) - norm)
            / max(norm, floor / GRADIENT)
            for official, norm in recorded.items()
        }
        where, worst = max(errors.items(), key=lambda item: item[1])
        return Comparison(f"{name} ({len(recorded)})", worst, GRADIENT, "" if worst <= GRADIENT else where)

    def _gradients(self) -> dict[str, Tensor]:
        """Return gradients by official name; zero where ours has a gradient of None and the tensor is trained."""
        by_part: dict[str, dict[str, Tensor]] = {}
        for part, module in self.model.parts.items():
            by_part[part] = {
                name: value.grad if value.grad is not None else torch.zeros_like(value)
                for name, value in module.named_parameters(remove_duplicate=True)
            }
        return NameTable(NAMES).split(by_part)

    def _generated(self, name: str, batch: Batch) -> Comparison:
        expected_BG = self.recorded[name]
        with torch.no_grad():
            ids_BG = self.model.generate(batch, max_new_tokens=expected_BG.shape[1], eos_token_id=None)
        same = ids_BG.shape == expected_BG.shape and bool((ids_BG == expected_BG).all())
        return Comparison(name, 0.0 if same else 1.0, 0.0, "" if same else f"{ids_BG.tolist()}")

    def _features(self, name: str, tokens: list[Tensor]) -> Comparison:
        """Compare media features, in order; the official list also has those of the dummy image."""
        recorded = self.recorded[name]
        ours = torch.stack(tokens) if tokens else recorded[:0]
        theirs = recorded[: len(ours)]
        return Comparison(name, float((ours - theirs).abs().max()) if ours.numel() else 0.0, FEATURES)

    def _compare(self, name: str, ours: Tensor, tolerance: float, where: Tensor | None = None) -> Comparison:
        theirs = self.recorded[name].float()
        if ours.shape != theirs.shape:
            return Comparison(name, float("inf"), tolerance, f"shape {tuple(ours.shape)}, not {tuple(theirs.shape)}")
        difference = (ours.float() - theirs).abs()
        if where is not None:
            difference = difference[where]
        return Comparison(name, float(difference.max()) if difference.numel() else 0.0, tolerance)


BEATS_NOTES = {
    "padmask_tokens": "not run: the official model never passes a padding mask that is set",
    "features_padmask": "not run: the official model never passes a padding mask that is set",
    "lprobs_padmask": "not run: the official model never passes a padding mask that is set",
    "features_trainmode_layerdrop0.6_npseed0": "not run: ours draws from torch's generator, not from numpy's",
}


def batch_of(
    rows: list[tuple[list[int], list[int]]], files: tuple[MediaFile, ...], uses: tuple[MediaUse, ...]
) -> Batch:
    """Build a batch from rows of ids (placeholders negative) and labels, padded on the right."""
    length = max(len(ids) for ids, _ in rows)
    ids_BS = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in rows])
    labels_BS = torch.tensor([labels + [UNLABELLED] * (length - len(labels)) for _, labels in rows])
    mask_BS = torch.tensor([[place < len(ids) for place in range(length)] for ids, _ in rows])
    taught_L = (labels_BS[:, 1:] != UNLABELLED).nonzero()
    return Batch(
        ids_BS=ids_BS.clamp(min=0),
        layout=padded_layout(mask_BS),
        slots_N=(ids_BS < 0).flatten().nonzero()[:, 0],
        taught_L=taught_L[:, 0] * length + taught_L[:, 1],
        targets_L=labels_BS[:, 1:][labels_BS[:, 1:] != UNLABELLED],
        files=files,
        uses=uses,
        samples=tuple(map(str, range(len(rows)))),
        lengths=tuple(len(ids) for ids, _ in rows),
    )


def labels_of(batch: Batch) -> Tensor:
    """Return the labels that a batch teaches, in the official layout."""
    labels_P = torch.full((batch.ids_BS.numel(),), UNLABELLED)
    labels_P[batch.taught_L + 1] = batch.targets_L
    return labels_P.view_as(batch.ids_BS)

"""Recorded outputs of the official code, replayed on ours.

A recording is ``NAME.safetensors`` with ``NAME.json`` beside it: ``w/<official name>`` are weights, ``pix/`` and
``fbank/`` inputs, ``vision/``, ``beats/`` and ``case/<case>/`` outputs. It is laid out as an official folder, converted
by ``vlframe.convert``, loaded by ``vlframe.load``, and asked the recorded questions, like any checkpoint.

B batch, S sequence, N media tokens, E embedding, V vocabulary, T frames, C colours, Y X pixels, F audio frames.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import vlframe
from vlframe import Batch, Comparison, MediaInput, WeightsError
from vlframe_videollama2 import names

TAGS = {-200: "image", -201: "video", -202: "audio"}  # official ids of <image>, <video>, <audio>
UNLABELLED = -100
PLACEHOLDER = -1  # any negative id; the model only asks where they are

FEATURES = 1e-4  # of towers and connector outputs, whose largest values are of the order of 10
EXACT = 1e-6  # of weights that are only put together
LOGITS = 2e-4
LOSS = 1e-5
GRADIENT = 1e-3  # of the norm of the whole gradient of a tensor
UNUSED = "not run: the model does not use it"


def verify(recording: Path) -> Iterator[Comparison]:
    """Every recorded output beside ours."""
    replay = Replay(recording)
    yield from replay.vision()
    yield from replay.beats()
    for case in replay.about["cases"]:
        yield from replay.case(case)


class Replay:
    """One recording, converted and loaded."""

    def __init__(self, recording: Path) -> None:
        about = recording.with_suffix(".json")
        if not about.is_file():
            raise WeightsError(f"{recording} has no {about.name} beside it, which says what was recorded")
        self.about: dict[str, Any] = json.loads(about.read_text())
        self.recorded = load_file(recording)
        with TemporaryDirectory() as folder:
            official, ours = Path(folder, "official"), Path(folder, "ours")
            write_official(official, self.about, self.recorded)
            vlframe.convert(official, ours, vision=str(official / "vision"), audio=_beats_file(official))
            self.model = vlframe.load(ours, device="cpu").model.float().eval()
        self.model.requires_grad_(True)
        if "encoder" in self.model.parts:
            self.model.encoder.requires_grad_(False)  # as in the official training

    def vision(self) -> Iterator[Comparison]:
        pixels = self.recorded.get("pix/video0")
        if pixels is None:
            return
        encoder = self.model.encoder
        with torch.no_grad():
            features_THWD = encoder(pixels.float()[None])[0]
            hidden_TPD = encoder.embed(pixels.float())
        yield self._compare("vision/features", features_THWD.flatten(1, 2), FEATURES)
        yield self._compare("vision/hidden_state_0", hidden_TPD, FEATURES)
        for name in ("vision/last_hidden_state", "vision/pooler_output"):
            if name in self.recorded:
                yield Comparison(name, None, 0.0, UNUSED)

    def beats(self) -> Iterator[Comparison]:
        if "beats/features" not in self.recorded:
            return
        tower = self.model.audio_encoder
        fbank_BFM = torch.cat([self.recorded[name] for name in _tensors(self.about["beats"]["input"])]).float()
        with torch.no_grad():
            features_BAD = tower(fbank_BFM)
            ours = {
                "features": (features_BAD, FEATURES),
                "projected": (self.model.audio_connector(features_BAD), FEATURES),
                "pos_conv_weight_effective": (tower.encoder.pos_conv[0].weight(), EXACT),
            }
            if tower.encoder.relative:
                bias = tower.encoder.layers[0].self_attn.relative_attention_bias
                ours["position_bias"] = (bias(features_BAD.shape[1]), EXACT)
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
            embeds_BSE = self.model.embed(batch)
            logits_BSV = self.model.llm.logits(self.model.llm(embeds_BSE, batch.mask_BS))
            tokens = self.model.encode(batch.media)
        real_BS = batch.mask_BS
        if f"{at}/mm_features" in self.recorded:
            yield self._features(f"{at}/mm_features", tokens)
        if f"{at}/inputs_embeds" in self.recorded:
            yield self._compare(f"{at}/inputs_embeds", embeds_BSE, FEATURES, real_BS)
        if f"{at}/attention_mask_out" in self.recorded:
            yield self._compare(f"{at}/attention_mask_out", real_BS.float(), 0.0)
        if f"{at}/labels_out" in self.recorded:
            yield self._compare(f"{at}/labels_out", batch.labels_BS.float(), 0.0)
        yield self._compare(f"{at}/logits", logits_BSV, LOGITS, real_BS)
        if f"{at}/loss" in self.recorded:
            yield from self._loss(at, case, batch)
        if f"{at}/generated" in self.recorded:
            yield self._generated(f"{at}/generated", batch)

    def batch(self, ids_BS: Tensor, mask_BS: Tensor, labels_BS: Tensor | None, images: list[Any] | None) -> Batch:
        """Our batch for official ids: each tag becomes as many placeholders as its files have tokens."""
        queue = [self._items(*image) for image in images or []]
        rows, media = [], []
        for row, mask in enumerate(mask_BS):
            ids, labels = [], []
            kept = ids_BS[row][mask].tolist()
            said = labels_BS[row][mask].tolist() if labels_BS is not None else [UNLABELLED] * len(kept)
            if not any(token in TAGS for token in kept) and queue:
                queue.pop(0)  # the dummy that the official code feeds for a row without media
            for token, label in zip(kept, said, strict=True):
                items = queue.pop(0) if token in TAGS else []
                media += items
                count = sum(item.tokens for item in items)
                ids += [PLACEHOLDER] * count if items else [token]
                labels += [UNLABELLED] * count if items else [label]
            rows.append((ids, labels))
        length = max(len(ids) for ids, _ in rows)
        padded = [
            (ids + [0] * (length - len(ids)), labels + [UNLABELLED] * (length - len(ids))) for ids, labels in rows
        ]
        return Batch(
            ids_BS=torch.tensor([ids for ids, _ in padded]),
            labels_BS=torch.tensor([labels for _, labels in padded]),
            mask_BS=torch.tensor([[place < len(ids) for place in range(length)] for ids, _ in rows]),
            media=tuple(media),
            samples=tuple(map(str, range(len(rows)))),
        )

    def _items(self, what: str | dict[str, str], kind: str) -> list[MediaInput]:
        """The media of one tag: a video with sound is two, one after the other."""
        if isinstance(what, dict):
            return [item for name, spec in what.items() for item in self._items(spec, name)]
        tensor = self._input(what).float()
        if kind == "audio":
            tensor = tensor.squeeze(0)
            connector, tower = self.model.audio_connector, self.model.audio_encoder
            return [MediaInput("audio", tensor, what, connector.tokens(tower.steps(len(tensor))))]
        tensor = tensor if tensor.ndim == 4 else tensor[None]
        frames = len(tensor) if kind == "video" or not self.model.connector.expands_images else self.model.frames
        tokens = self.model.connector.tokens(self.model.encoder.grid(frames))
        return [MediaInput(kind, tensor, (kind, what), tokens)]  # type: ignore[arg-type]

    def _input(self, spec: str) -> Tensor:
        """A recorded input, or one that is spelled out: ``flip(pix/video0, dim 0)``, ``zeros(3,S,S)``."""
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
        """The norm of every gradient, relative to itself, or to a millionth of the whole gradient where that is more:
        a bias before a softmax over its keys has a gradient of zero, and what was recorded of it is rounding."""
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
        """By official name; zero where ours has a gradient of None and the tensor is trained."""
        by_part: dict[str, dict[str, Tensor]] = {}
        for part, module in self.model.parts.items():
            by_part[part] = {
                name: value.grad if value.grad is not None else torch.zeros_like(value)
                for name, value in module.named_parameters(remove_duplicate=True)
            }
        by_part["llm"] = names.split_experts(by_part["llm"])
        return {names.official(part, name): grad for part, found in by_part.items() for name, grad in found.items()}

    def _generated(self, name: str, batch: Batch) -> Comparison:
        expected_BG = self.recorded[name]
        llm = self.model.llm
        with torch.no_grad():
            ids_BG = llm.generate(
                self.model.embed(batch), batch.mask_BS, max_new_tokens=expected_BG.shape[1], eos_token_id=None
            )
        same = ids_BG.shape == expected_BG.shape and bool((ids_BG == expected_BG).all())
        return Comparison(name, 0.0 if same else 1.0, 0.0, "" if same else f"{ids_BG.tolist()}")

    def _features(self, name: str, tokens: list[Tensor]) -> Comparison:
        """The official list has the dummy's features too; ours are those of the real media, in order."""
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


def _tensors(spec: str) -> list[str]:
    """The names in ``cat(fbank/fbank0, fbank/fbank1)``, or the one name."""
    return re.findall(r"\w+/\w+", spec)


def _beats_file(official: Path) -> str | None:
    file = official / "beats.pt"
    return str(file) if file.is_file() else None


def write_official(folder: Path, about: dict[str, Any], recorded: dict[str, Tensor]) -> None:
    """The recording's weights as an official ``full`` folder, its tower's config and its BEATs' cfg beside them."""
    (folder / "vision").mkdir(parents=True)
    weights = {name.removeprefix("w/"): tensor for name, tensor in recorded.items() if name.startswith("w/")}
    shared = {name: weights[first].clone() for name, first in about.get("tied_aliases", {}).items() if first in weights}
    save_file({name: tensor.contiguous() for name, tensor in (weights | shared).items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(about["config"]))
    (folder / "vision" / "config.json").write_text(json.dumps(about["vision_config"]))
    if about.get("beats_config"):
        torch.save({"cfg": about["beats_config"], "model": {}}, folder / "beats.pt")

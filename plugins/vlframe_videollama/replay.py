"""Replay recorded outputs of the official code on ours: write official files, convert them, load them, run them.

B batch, T frames, C colours, Y X pixels, A clips, F audio frames, M mel bins, D features, K keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import vlframe
from vlframe import Comparison, WeightsError, read_json, read_tensors
from vlframe_videollama import layout
from vlframe_videollama.sound import resampled

VISUAL, AUDIO = "videollama_visual_branch", "videollama_audio_branch"
VISION_HEADS = 2  # of ImageBind's vision trunk, if a recording does not say
Tensors = dict[str, Tensor]


def verify(recording: Path) -> Iterator[Comparison]:
    """Yield every recorded output with ours, at the recording's own tolerance."""
    about = recording.with_suffix(".json")
    if not about.is_file():
        raise WeightsError(f"{recording} has no {about.name} beside it, which says what was recorded")
    said, recorded = read_json(about), read_tensors(recording)
    if "items" in said:
        yield from front_end(said, recorded)
        return
    with torch.no_grad():
        outputs = computed(recording, said, recorded)
    for name, theirs in recorded.items():
        if name.startswith("out/"):
            yield Comparison.of(name, outputs.get(name.removeprefix("out/")), theirs, said["tol"]["atol"])


def computed(recording: Path, said: dict[str, Any], recorded: Tensors) -> Tensors:
    """Return our outputs, by the names of the recording without their prefix."""
    weights = layout.weights(recorded)
    if "in/frames_btchw" in recorded:
        heads = {"encoder": said["config"].get("ib_vh", VISION_HEADS), "connector": said["config"]["heads"]}
        model = _model(weights, heads, said["config"]["llm"], through_vision=True)
        return _through_vision(model, recorded["in/frames_btchw"].float())
    fused = "in/mel_bsc128x204" in recorded and "in/video_bcthw" in recorded
    if fused:
        weights = {**_sibling(recording, VISUAL), **_sibling(recording, AUDIO)}
    if "audio_query_tokens" in weights and "video_query_tokens" not in weights:
        weights |= layout.visual_branch(said["config"])
    config = said["config"]
    heads = {"encoder": config["vit_heads"], "connector": config["heads"], "audio_encoder": config["ib_ah"]}
    model = _model(weights, heads, config["llm"], through_vision=False)
    if fused:
        return _fused(model, recorded)
    if "in/video_bcthw" in recorded:
        return _visual(model, recorded["in/video_bcthw"].float())
    return _heard(model, recorded["in/mel_bsc128x204"].float())


def _model(weights: Tensors, heads: dict[str, int], llm: int, *, through_vision: bool) -> Any:
    with TemporaryDirectory() as folder:
        source, sources = layout.write(Path(folder), weights, heads, llm, through_vision=through_vision)
        ours = Path(folder, "ours")
        vlframe.convert(source, ours, sources=sources, format="videollama")
        return vlframe.load(ours, device="cpu").model.float().eval()


def _sibling(recording: Path, name: str) -> Tensors:
    """Return the weights of another recording of the same models, in the same folder."""
    file = recording.with_name(f"{name}.safetensors")
    if not file.is_file():
        raise WeightsError(f"{recording.name} has no weights of its own; they are those of {file.name} beside it")
    return layout.weights(read_tensors(file))


def _visual(model: Any, video_BCTYX: Tensor) -> Tensors:
    encoder, connector = model.parts["encoder"], model.parts["connector"]
    pixels_BTCYX = video_BCTYX.transpose(1, 2)
    features_BTHWD = encoder(pixels_BTCYX)
    tokens_BNE = connector(features_BTHWD)
    positions_TJ = connector.frame_position.weight[: pixels_BTCYX.shape[1]]
    return {
        **encoder.intermediates(pixels_BTCYX),
        "ln_vision": features_BTHWD.flatten(0, 1).flatten(1, 2),
        "frame_position_embeddings": positions_TJ.expand(len(pixels_BTCYX), -1, -1),
        **connector.intermediates(features_BTHWD),
        "inputs_llama": tokens_BNE,
        "inputs_llama_single_frame": connector(encoder(pixels_BTCYX[:, :1])),
        "atts_llama": torch.ones(tokens_BNE.shape[:2]),
    }


def _heard(model: Any, mel_BA1MF: Tensor) -> Tensors:
    encoder, connector = model.parts["audio_encoder"], model.parts["audio_connector"]
    spectra_BFM = _spectra(mel_BA1MF)
    features_BAD = encoder(spectra_BFM)
    tokens_BNE = connector(features_BAD)
    positions_AD = connector.step_position.weight[: features_BAD.shape[1]]
    return {
        **encoder.intermediates(spectra_BFM),
        "imagebind_audio_embed": features_BAD,
        "audio_position_embeddings": positions_AD.expand(len(features_BAD), -1, -1),
        **connector.intermediates(features_BAD),
        "inputs_llama": tokens_BNE,
        "atts_llama": torch.ones(tokens_BNE.shape[:2]),
    }


def _through_vision(model: Any, frames_BTCYX: Tensor) -> Tensors:
    features_BTHWD = model.parts["encoder"](frames_BTCYX)
    embed = features_BTHWD.flatten(1, 3)
    return {"imagebind_vision_embed": embed, "inputs_llama": model.parts["connector"](features_BTHWD)}


def _fused(model: Any, recorded: Tensors) -> Tensors:
    """Compute what the official code has but never calls: the video Q-Former on frames and the sound's summaries."""
    connector, frames_BCTYX = model.parts["connector"], recorded["in/video_bcthw"].float()
    features_BTHWD = model.parts["encoder"](frames_BCTYX.transpose(1, 2))
    summary_BAD = model.parts["audio_encoder"].intermediates(_spectra(recorded["in/mel_bsc128x204"].float()))
    placed_BAD = summary_BAD["imagebind_audio_768"] + connector.frame_position.weight[: features_BTHWD.shape[1]]
    keys_BKD = torch.cat([connector.intermediates(features_BTHWD)["video_qformer_kv"], placed_BAD], 1)
    queries = connector.video_query_tokens.expand(len(keys_BKD), -1, -1)
    read = connector.video_qformer(query_embeds=queries, encoder_hidden_states=keys_BKD).last_hidden_state
    return {"inputs_llama": connector.projection(read)}


def _spectra(mel_BA1MF: Tensor) -> Tensor:
    """Return ``spectra_BFM``: the clips' spectrograms one after the other, as in our front end."""
    return mel_BA1MF[:, :, 0].transpose(2, 3).flatten(1, 2)


def front_end(said: dict[str, Any], recorded: Tensors) -> Iterator[Comparison]:
    """Compare spectrograms of waveforms. Three figures each: rare cells of little energy differ more than the rest."""
    limits = said["tol"]
    for item in said["items"]:
        tag, theirs = item["tag"], recorded[f"out/{item['tag']}_mel"]
        front = _ear(item["clips_per_video"])
        wave_CL = recorded[f"in/{tag}_wave_int16"].float() / 32768
        wave_CL = resampled(wave_CL, item["sample_rate"], front.sampling_rate)
        spans = [list(span) for span in front.spans(wave_CL.shape[1])]
        wrong = 0.0 if spans == item["clip_sample_ranges"] else float("inf")
        yield Comparison(f"{tag}: where clips begin and end", wrong, 0.0)
        kept = recorded.get(f"out/{tag}_resampled_16k_every8")
        if kept is not None:
            yield Comparison.of(f"out/{tag}_resampled_16k_every8", wave_CL[:, ::8], kept, limits["median"])
        ours = front.features(wave_CL[0]).unflatten(0, (-1, theirs.shape[3])).transpose(1, 2)[:, None]
        difference = (ours - theirs).abs()
        share = float((difference > 1e-3).float().mean())
        yield Comparison.of(f"out/{tag}_mel", ours, theirs, limits["atol_max"])
        yield Comparison(f"out/{tag}_mel, median", float(difference.median()), limits["median"])
        yield Comparison(f"out/{tag}_mel, share above 1e-3", share, limits["max_fraction_above_1e-3"])


def _ear(clips: int) -> Any:
    """Return the audio front end of a converted model with this many clips."""
    sizes = {"h": 16, "heads": 2, "inter": 16, "vit": 16, "img": 28, "llm": 16, "ib_a": 16, "ib_out": 16}
    heads = {"encoder": 2, "connector": 2, "audio_encoder": 2}
    state = {**layout.visual_branch(sizes), **layout.audio_branch(sizes, clips)}
    return _model(state, heads, sizes["llm"], through_vision=False).parts["audio_encoder"].audio

"""The processor `videollama2`, element by element against what the official code made (tests/recordings/processor)."""

import hashlib
import json
import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.compositions import TINY, tiny_pipeline
from helpers.processes import vlframe
from helpers.runs import manifest, only_run, training
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from vlframe_beats.fbank import Fbank
from vlframe_videollama2 import sound, text, video
from vlframe_videollama2.processor import OfficialProcessor
from vlframe_videollama2.settings import OfficialProcessorParams

from vlframe import (
    PLACEHOLDERS,
    ConfigError,
    DataError,
    Media,
    MediaError,
    NoAudioTrack,
    Sample,
    SquarePixels,
    Timeline,
    Turn,
    VideoInfo,
    midpoints,
)
from vlframe.composer.compose import compose
from vlframe.config.asking import AskingConfig
from vlframe.config.schema import MediaConfig, TextConfig
from vlframe.config.typed import read_yaml
from vlframe.contracts.batch import Batch, MediaFile, Quarantined
from vlframe.contracts.processor import MediaSource
from vlframe.data.collate import Collate
from vlframe.data.prepare import PreparedSample, PreparedSamples
from vlframe.evaluation.evaluate import ask
from vlframe.evaluation.judge import Judge
from vlframe.evaluation.questions import Questions
from vlframe.media.loader import MediaLoader
from vlframe.runs.quarantine import QuarantineLog

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests" / "recordings" / "processor"
QWENLIKE = ROOT / "tests" / "recordings" / "text" / "qwenlike"
MISTRAL = ROOT.parent / "shared" / "goldens" / "videollama2" / "tokenizers" / "mistral"
TEXTS = json.loads((RECORDINGS / "texts.json").read_text(encoding="utf-8"))
FRAMES = json.loads((RECORDINGS / "frames.json").read_text())
SAMPLING = json.loads((ROOT / "tests/recordings/preproc/frame_sample.json").read_text())
PIXELS = json.loads((ROOT / "tests/recordings/preproc/pixels.json").read_text())
SOUNDS = json.loads((RECORDINGS / "sound.json").read_text())["entries"]
ROLES = {"human": "user", "gpt": "assistant"}
KINDS = {"<video>": "video", "<image>": "image", "<audio>": "audio", None: None}
TOKENIZERS = ("mistral", "qwenlike")
BRANCHES = ("main", "audio_visual")


@cache
def tokenizer(name: str, template: str | None = None) -> PreTrainedTokenizerFast:
    folder = {"qwenlike": QWENLIKE, "mistral": MISTRAL}[name]
    if not folder.is_dir():
        pytest.skip(f"the Mistral tokenizer (1.8 MB) is not shipped, and there is none in {MISTRAL}")
    loaded = AutoTokenizer.from_pretrained(folder)
    if template:
        loaded.chat_template = template
    return loaded


class Official(OfficialProcessor):
    """What it writes of a sample and sees of a file, without the loader between."""

    def wrote(self, sample: Sample, tokenizer: Any, *, training: bool) -> Any:
        return self.write(sample, [Timeline(item) for item in sample.media], tokenizer, None, training=training)

    def seen(self, media: Media, source: MediaSource) -> Any:
        return self.read(self.timeline(media, source) or Timeline(media), source)


def processor(**settings: Any) -> Official:
    return Official(**settings)


def shown(batch: Batch) -> tuple[list[list[int]], list[list[int]]]:
    """The ids with placeholders where media stand, and the labels, as the official collator lays them out."""
    ids_P = batch.ids_BS.flatten().clone()
    kinds = [batch.files[use.file].kind for use in batch.uses for _ in range(use.tokens)]
    ids_P[batch.slots_N] = torch.tensor([PLACEHOLDERS[kind] for kind in kinds], dtype=torch.long)
    labels_P = torch.full_like(ids_P, -100)
    labels_P[batch.taught_L + 1] = batch.targets_L
    return ids_P.view_as(batch.ids_BS).tolist(), labels_P.view_as(batch.ids_BS).tolist()


def turns_of(recorded: list[list[str]]) -> tuple[Turn, ...]:
    return tuple(Turn(ROLES[role], words) for role, words in recorded)


def conversation(case: str) -> Sample:
    """The raw conversation with one file for its tags, as a row of the official data has."""
    recorded = TEXTS["conversations"][case]
    media = () if recorded["tag"] is None else (Media(KINDS[recorded["tag"]], Path("file")),)
    return Sample(case, turns_of(recorded["raw"]), media)


def labels(ids: list[int], supervised: list[bool]) -> list[int]:
    return [token if learnt else -100 for token, learnt in zip(ids, supervised, strict=True)]


# -- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(TEXTS["multimodal_token"])))
def test_texts_with_tags_become_the_official_ids(index: int) -> None:
    case = TEXTS["multimodal_token"][index]
    assert text.multimodal_ids(case["prompt"], tokenizer(case["tokenizer"]), case["tag"]) == case["ids"]


@pytest.mark.parametrize("case", TEXTS["conversations"])
def test_tags_go_to_the_head(case: str) -> None:
    recorded = TEXTS["conversations"][case]
    assert text.tags_at_head(turns_of(recorded["raw"]), recorded["tag"]) == list(turns_of(recorded["tags_at_head"]))


@pytest.mark.parametrize("case", TEXTS["conversations"])
@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("branch", BRANCHES)
def test_training_ids_and_labels(branch: str, name: str, case: str) -> None:
    if branch == "main" and case == "audio":
        pytest.skip("the main branch opens no sound; refused below")
    recorded = TEXTS["preprocess"][name][case]
    written = processor(branch=branch).wrote(conversation(case), tokenizer(name), training=True)
    assert written.ids == recorded["ids"]
    assert labels(written.ids, written.supervised) == recorded["labels"]


@pytest.mark.parametrize("case", TEXTS["preprocess_plain"]["main"]["qwenlike"])
@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("branch", BRANCHES)
def test_pretraining_ids_and_labels(branch: str, name: str, case: str) -> None:
    recorded = TEXTS["preprocess_plain"][branch][name][case]
    using, tag = tokenizer(name), TEXTS["conversations"][case]["tag"]
    turns = text.tags_at_head(conversation(case).turns, tag)
    template = branch == "audio_visual"
    if "error" in recorded:
        with pytest.raises(DataError, match="cannot be used in pretraining"):
            text.caption(turns, using, tag, case, template=template)
        return
    ids, supervised = text.caption(turns, using, tag, case, template=template)
    assert ids == recorded["ids"] and labels(ids, supervised) == recorded["labels"]
    if branch == "audio_visual" or case != "audio":
        written = processor(branch=branch, pretraining=True).wrote(conversation(case), using, training=True)
        assert (written.ids, labels(written.ids, written.supervised)) == (recorded["ids"], recorded["labels"])


@pytest.mark.parametrize("index", range(len(TEXTS["mm_infer"])))
def test_prompts(index: int) -> None:
    case = TEXTS["mm_infer"][index]
    with_system = case["model_type"] == "videollama2_mistral"
    template = TEXTS["template_with_system"] if case["tokenizer"] == "mistral" else None
    using = tokenizer(case["tokenizer"], template)
    given = case["instruct"]
    turns = [["human", given]] if isinstance(given, str) else [[_from(m), m["content"]] for m in given]
    media = ()
    if case["modal"] != "text":
        turns[0][1] = f"<{case['modal']}>\n{turns[0][1]}"
        media = (Media(case["modal"], Path("file")),)
    automatic = with_system == (case["tokenizer"] == "mistral")  # the model that belongs to the tokenizer
    wanted = "auto" if automatic else "always" if with_system else "never"
    ours = processor(branch="audio_visual", system_prompt=wanted)
    written = ours.wrote(Sample("question", turns_of(turns), media), using, training=False)
    assert written.ids == case["ids"]
    assert not any(written.supervised) and written.media == media
    hidden = written.hidden
    assert hidden == (using.unk_token_id if case["tokenizer"] == "mistral" else using.pad_token_id)


def _from(message: dict[str, str]) -> str:
    return {"user": "human", "assistant": "gpt"}[message["role"]]


class OneFrame:
    """A budget and a loader in which every medium is one token, as before the official code expands them."""

    max_length = 4096
    branches = {name: SimpleNamespace(instruction=None, reads_seconds=False) for name in ("video", "audio")}  # noqa: RUF012

    def has(self, kind: str) -> bool:
        return True

    def tokens(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> int:
        return 1

    def timeline(self, media: Media, seed: tuple[int, ...]) -> Timeline:
        return Timeline(media, shape=(1,))

    def decode(self, timeline: Timeline) -> Any:
        return MediaFile(timeline.media.kind, torch.zeros(1), str(timeline.media))


def prepare(samples: list[Sample], using: Any, ours: OfficialProcessor | None, **more: Any) -> PreparedSamples:
    settings = {"media": MediaConfig(), "text": TextConfig(), "answers": True} | more
    return PreparedSamples(samples, budget=OneFrame(), loader=OneFrame(), tokenizer=using, processor=ours, **settings)


@pytest.mark.parametrize("limit", ["2048", "24"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_batches(name: str, limit: str) -> None:
    recorded = TEXTS["collator"][name][limit]
    using = tokenizer(name)
    rows = prepare([conversation(c) for c in recorded["samples"]], using, processor(model_max_length=int(limit)))
    pad = using.unk_token_id if using.pad_token_id is None else using.pad_token_id
    batch = Collate(pad_id=pad)([rows[index] for index in range(len(rows))])
    assert shown(batch) == (recorded["ids"], recorded["labels"])
    assert batch.layout.mask_BS.int().tolist() == [[int(bit) for bit in row] for row in recorded["mask"]]


def test_the_padding_token_is_hidden_within_a_text_too() -> None:
    using = tokenizer("qwenlike")
    sample = Sample("x", (Turn("user", "what is <|endoftext|> ?"), Turn("assistant", "an end")))
    row = prepare([sample], using, processor())[0]
    mask_S = Collate()([row]).layout.mask_BS[0]
    assert [row.ids[at] for at in (~mask_S).nonzero()[:, 0]] == [using.pad_token_id]
    assert Collate()([prepare([sample], using, processor(hide_padding_token=False))[0]]).layout.mask_BS.all()
    assert Collate()([prepare([sample], using, None)[0]]).layout.mask_BS.all()


def test_truncation_can_take_all_answers_and_the_medium_itself() -> None:
    using = tokenizer("qwenlike")
    sample = conversation("single_video")
    row = prepare([sample], using, processor(model_max_length=24))[0]
    assert not any(row.supervised) and len(row.media) == 1
    row = prepare([sample], using, processor(model_max_length=20))[0]
    assert row.media == () and len(row.ids) == 20  # upstream, the next row would be given these features
    long = prepare([sample], using, processor(model_max_length=24), answers=False)[0]
    assert len(long.ids) > 24  # prompts are never cut
    assert len(prepare([sample], using, processor(model_max_length=None))[0].ids) == 59


def test_a_video_with_its_sound_is_one_place_for_two() -> None:
    using = tokenizer("qwenlike")
    clip = Path("clip.mp4")
    pair = (Media("video", clip), Media("audio", clip, track=True))
    words = (Turn("user", "<video><audio>\nWhat is the woman doing?"), *conversation("single_video").turns[1:])
    alone = processor().wrote(conversation("single_video"), using, training=True)
    both = processor(branch="audio_visual").wrote(Sample("x", words, pair), using, training=True)
    at = alone.ids.index(PLACEHOLDERS["video"])
    assert (
        both.ids == [*alone.ids[:at], PLACEHOLDERS["video"], PLACEHOLDERS["audio"], *alone.ids[at + 1 :]]
        and both.media == pair
    )
    assert both.supervised == [*alone.supervised[:at], False, *alone.supervised[at:]]
    cut = processor(branch="audio_visual", model_max_length=len(alone.ids)).wrote(
        Sample("x", words, pair), using, training=True
    )
    assert cut.ids == both.ids  # the limit counts one
    asked = processor(branch="audio_visual").wrote(Sample("x", words[:1], pair), using, training=False)
    assert asked.ids.count(PLACEHOLDERS["video"]) == asked.ids.count(PLACEHOLDERS["audio"]) == 1


def test_tags_can_stay_where_they_are() -> None:
    using = tokenizer("qwenlike")
    sample = conversation("token_in_middle")
    for training_ in (True, False):
        kept = processor(tags="keep").wrote(sample, using, training=training_)
        before = using.decode(kept.ids[: kept.ids.index(PLACEHOLDERS["video"])])
        assert before.endswith("Look at ")


def test_system_turns() -> None:
    using = tokenizer("qwenlike")
    talk = (Turn("system", "Be brief."), Turn("user", "Why?"), Turn("assistant", "So."))
    learnt = processor().wrote(Sample("x", talk), using, training=True)
    assert using.decode(labels_only(learnt)) == "So.<|im_end|>\n"
    assert "Be brief." in using.decode(learnt.ids)
    asked = using.decode(processor(system_prompt="always").wrote(Sample("x", talk), using, training=False).ids)
    assert "Be brief." in asked and "<<SYS>>" not in asked and asked.count("<|im_start|>system") == 1
    assert "user\n\nWhy?" in asked  # the newline after a medium is there without one


def labels_only(written: Any) -> list[int]:
    return [token for token, learnt in zip(written.ids, written.supervised, strict=True) if learnt]


def test_a_template_that_refuses_the_system_prompt_says_what_to_do() -> None:
    sample = Sample("x", (Turn("user", "Why?"),))
    with pytest.raises(DataError, match=r"chat template refuses system, user.*processor\.system_prompt=never"):
        processor().wrote(sample, tokenizer("mistral"), training=False)
    assert processor(system_prompt="never").wrote(sample, tokenizer("mistral"), training=False).ids


def test_a_leading_space_after_a_tag_keeps_its_own_mark() -> None:
    """transformers 5 leaves the mark out that transformers 4 puts ahead of every piece."""
    using = tokenizer("mistral")
    assert using(" what?", add_special_tokens=False).input_ids == [767, 28804]
    assert text.multimodal_ids("<audio> what?", using, "<audio>") == [PLACEHOLDERS["audio"], 28705, 767, 28804]


CLIP, STILL = Media("video", Path("a.mp4")), Media("image", Path("a.png"))
EAR, TRACK = Media("audio", Path("a.wav")), Media("audio", Path("b.mp4"), track=True)


@pytest.mark.parametrize(
    ("words", "media", "settings", "message"),
    [
        (["<audio>?", "a"], [EAR], {}, "has sound, which the main branch does not know"),
        (["?", "a"], [CLIP], {}, "has a medium and 0 places"),
        (["<video>?", "a", "<video>?", "b"], [CLIP], {}, "has a medium and 2 places"),
        (["<video>?", "see <video>"], [CLIP], {}, "has a medium and 2 places"),
        (["<video>?"], [CLIP], {}, "1 turns from the first question on"),
        ([], [], {}, "0 turns from the first question on"),
        (["?", "a"], [], {"pretraining": True}, "2 turns and no medium"),
        (["<video>?", "a", "?", "b"], [CLIP], {"pretraining": True}, "4 turns and <video>"),
    ],
)
def test_samples_that_the_official_code_fails_on(words: list, media: list, settings: dict, message: str) -> None:
    turns = tuple(Turn(("user", "assistant")[at % 2], item) for at, item in enumerate(words))
    with pytest.raises(DataError, match=message):
        processor(**settings).wrote(Sample("x", turns, tuple(media)), tokenizer("qwenlike"), training=True)


@pytest.mark.parametrize("media", [[STILL, STILL], [CLIP, EAR], [CLIP, TRACK], [STILL, CLIP]])
def test_more_than_one_file_follows_the_policy_for_media(media: list[Media]) -> None:
    """The official code cannot open a list, and takes another sample at random."""
    sample = Sample("x", (Turn("user", "<image><video>?"), Turn("assistant", "a")), tuple(media))
    ours = processor(branch="audio_visual")
    with pytest.raises(DataError, match=r"'x': it has the media .* opens one file for a sample"):
        prepare([sample], tokenizer("qwenlike"), ours)[0]
    left_out = prepare([sample], tokenizer("qwenlike"), ours, media=MediaConfig(on_error="skip"))[0]
    assert isinstance(left_out, Quarantined) and left_out.why == "media"


def test_without_a_question_there_is_nothing_to_answer() -> None:
    with pytest.raises(DataError, match="has no user turn to answer"):
        processor().wrote(Sample("x", (Turn("system", "hm"),)), tokenizer("qwenlike"), training=False)


def test_text_can_be_left_to_vlframe() -> None:
    using = tokenizer("qwenlike")
    samples = [conversation("single_video")]
    assert prepare(samples, using, processor(text="vlframe"))[0] == prepare(samples, using, None)[0]


def test_the_context_of_the_model_still_holds() -> None:
    rows = prepare([conversation("single_video")], tokenizer("qwenlike"), processor())
    rows.budget.max_length = 40
    with pytest.raises(DataError, match="does not fit the context"):
        rows[0]
    rows.text = TextConfig(too_long="drop")
    assert rows[0].why == "too_long"


# -- frames ----------------------------------------------------------------------------------------------------------


def source(training_: bool = False, spec: SquarePixels | None = None, **more: Any) -> MediaSource:
    reader, audio = more.pop("reader", None), more.pop("audio", None)
    spec = spec or SquarePixels(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    sampler = {"name": more.pop("sampling", "uniform"), "fps": more.pop("fps", 1.0)}
    return MediaSource(reader, audio or spec, None, MediaConfig(sampler=sampler, **more), training_)


def clip(frames: int, fps: float, begin: float = 0.0) -> VideoInfo:
    return VideoInfo(frames, fps, height=8, width=8, has_audio=False, begin=begin)


@pytest.mark.parametrize("count", SAMPLING["uniform"])
def test_uniform_frames(count: str) -> None:
    for clip, indices in SAMPLING["uniform"][count].items():
        assert midpoints(int(clip), int(count)) == indices


@pytest.mark.parametrize("fps", SAMPLING["fps"])
def test_frames_by_the_second(fps: str) -> None:
    for clip, indices in SAMPLING["fps"][fps].items():
        assert video.by_rate(int(clip), float(fps), 1.0) == indices


@pytest.mark.parametrize("fps", [24000 / 1001, 30000 / 1001, 60000 / 1001, 12.5])
def test_a_broken_rate_drifts(fps: float) -> None:
    step = int(fps)
    assert video.by_rate(1000, fps, 1.0) == list(range(step // 2, 1000, step))


@pytest.mark.parametrize("index", range(len(FRAMES["bounds"])))
def test_bounds(index: int) -> None:
    frames, fps, start, end, count, indices = FRAMES["bounds"][index]
    media = Media("video", Path("a.mp4"), start, end)
    how = {"frames": count} if count else {"sampling": "fps", "fps": 1.0}
    if isinstance(indices, str):
        with pytest.raises(MediaError, match=r"a\.mp4: no frame lies between"):
            video.sampled(media, clip(frames, fps), source(**how), OfficialProcessorParams())
        return
    assert video.sampled(media, clip(frames, fps), source(**how), OfficialProcessorParams()) == indices


def test_slower_than_the_rate_is_an_error_and_not_a_division_by_zero() -> None:
    media = Media("video", Path("a.mp4"))
    with pytest.raises(MediaError, match=r"it has 0\.5 frames a second, fewer than media\.sampler\.fps=1"):
        video.sampled(media, clip(100, 0.5), source(sampling="fps"), OfficialProcessorParams())


def test_bounds_as_shown_on_request() -> None:
    shown = OfficialProcessorParams(bounds="shown")
    config = source(sampling="fps", fps=30.0)
    for start, end, frames in [(2.0, 5.0, range(60, 150)), (0.1, 0.2, range(3, 6)), (9.5, None, range(285, 300))]:
        media = Media("video", Path("a.mp4"), start, end)
        assert video.sampled(media, clip(300, 30.0), config, shown) == list(frames)
    with pytest.raises(MediaError):
        video.sampled(Media("video", Path("a.mp4"), 11.0, None), clip(300, 30.0), config, shown)


TIMES = (*[k / 2 for k in range(8)], *[4 + k / 20 for k in range(80)])  # 2 frames a second, from second 4 on 20
UNEVEN = VideoInfo(88, 11.0, height=8, width=8, has_audio=False, times=TIMES, end=8.0)


@pytest.mark.parametrize("bounds", ["official", "shown"])
def test_frames_of_a_varying_rate_are_chosen_by_their_times(bounds: str) -> None:
    """At the mean rate, seconds 0 to 4 would be 43 frames, of which 35 are shown later."""
    settings = OfficialProcessorParams(bounds=bounds)

    def seconds(start: float | None, end: float | None, **how: Any) -> list[float]:
        media = Media("video", Path("a.mp4"), start, end)
        return [TIMES[index] for index in video.sampled(media, UNEVEN, source(**how), settings)]

    assert seconds(0, 4, frames=4) == [0.5, 1.5, 2.5, 3.5]
    assert seconds(4, 8, frames=2) == [5.0, 7.0] and seconds(None, None, frames=4) == [1.0, 3.0, 5.0, 7.0]
    assert seconds(None, None, sampling="fps", fps=1.0) == [k + 0.5 for k in range(8)]
    assert seconds(3.9, 4, frames=1) == [3.5]  # shown until second 4
    with pytest.raises(MediaError, match=r"a\.mp4: start=9"):
        seconds(9, 10, frames=1)


def test_a_varying_rate_is_said_of_the_clip() -> None:
    info = SimpleNamespace(info=lambda path: UNEVEN)
    told = processor().timeline(Media("video", Path("a.mp4")), source(reader=info, frames=2))
    assert told is not None and told.note == video.UNEVEN and told.seconds == (2.0, 6.0)


def test_bounds_of_pictures_that_begin_late_are_seconds_of_the_file() -> None:
    """Pictures from second 2 on: second 4 is 2 s after the first of them (the official clock has no sound)."""
    found = video.sampled(
        Media("video", Path("a.mp4"), 4.0, 6.0), clip(100, 10.0, 2.0), source(frames=2), OfficialProcessorParams()
    )
    early = Media("video", Path("a.mp4"), 2.0, 4.0)
    assert found == video.sampled(early, clip(100, 10.0), source(frames=2), OfficialProcessorParams()) == [24, 34]


CLIP_LIKE = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711), "resize": "crop"}
SIGLIP_LIKE = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "resize": "squash"}


def spec_of(processor: str) -> SquarePixels:
    family, size = processor.rstrip("0123456789"), int(processor.lstrip("abcdefghijklmnopqrstuvwxyz"))
    return SquarePixels(size, **(CLIP_LIKE if family == "clip" else SIGLIP_LIKE))


def fit(pad: bool) -> dict[str, str]:
    return {"training_resize": "pad" if pad else "encoder", "inference_resize": "pad" if pad else "encoder"}


def check(frames_TCYX: torch.Tensor, entry: dict[str, Any]) -> None:
    spec = spec_of(entry["processor"])
    assert hashlib.sha256(frames_TCYX.numpy().tobytes()).hexdigest() == entry["sha256_uint8"]
    pixels = spec.normalise(frames_TCYX)
    assert hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest() == entry["sha256_float32"]


@cache
def arrays() -> dict[str, torch.Tensor]:
    upright = load_file(ROOT / "tests/recordings/preproc/pixels.safetensors")["frames"]
    return load_file(RECORDINGS / "frames.safetensors") | {"5x96x60": upright}


@pytest.mark.parametrize("entry", [e for e in FRAMES["pixels"] if not e["folder"]], ids=lambda entry: entry["key"])
def test_short_clips_end_in_black_frames(entry: dict[str, Any]) -> None:
    frames = list(arrays()[entry["frames"]].numpy())
    spec = video.fitted(source(spec=spec_of(entry["processor"])), OfficialProcessorParams(**fit(entry["pad"])))
    frames_TCYX = video.resized(video.with_black(frames, entry["num_frames"]), spec)
    if entry["key"] in arrays():
        torch.testing.assert_close(frames_TCYX[5:], arrays()[entry["key"]], rtol=0, atol=0)
    check(frames_TCYX, entry)


@pytest.mark.parametrize("entry", [e for e in FRAMES["pixels"] if e["folder"]], ids=lambda entry: entry["key"])
def test_folders_of_pictures(entry: dict[str, Any], tmp_path: Path) -> None:
    for number, frame_YXC in enumerate(arrays()[entry["frames"]].numpy()):
        Image.fromarray(frame_YXC).save(tmp_path / f"{number:04d}.png")
    media = Media("video", tmp_path, entry["start"], entry["end"])
    spec = spec_of(entry["processor"])
    frames_TCYX = processor(**fit(entry["pad"])).seen(media, source(spec=spec, frames=entry["num_frames"]))
    check(frames_TCYX, entry)


def test_black_frames_turn_each_time() -> None:
    shapes = [frame.shape for frame in video.with_black([np.ones((6, 9, 3), np.uint8)], 4)]
    assert shapes == [(6, 9, 3), (9, 6, 3), (6, 9, 3), (9, 6, 3)]


def test_names_of_pictures_are_sorted_as_words_and_grey_ones_do_not_fail(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        Image.new("L", (8, 8), number * 20).save(tmp_path / f"frame{number}.png")
    frames_TCYX = processor().seen(Media("video", tmp_path), source(frames=3))
    assert frames_TCYX[:, 0, 0, 0].tolist() == [20, 200, 40]


@pytest.mark.parametrize(
    "entry",
    [entry for entry in PIXELS["entries"] if "image" in entry],
    ids=lambda entry: f"{entry['image']}-{entry['processor']}-{entry['pad']}",
)
def test_images(entry: dict[str, Any]) -> None:
    media = Media("image", ROOT / "tests/recordings/preproc/images" / entry["image"])
    frames_TCYX = processor(**fit(entry["pad"])).seen(media, source(spec=spec_of(entry["processor"])))
    check(frames_TCYX, entry)


def test_images_stay_as_the_camera_lay(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4), (200, 0, 0)).save(tmp_path / "turned.png", exif=exif)
    Image.new("RGB", (4, 2)).save(tmp_path / "broken.png")
    wide, tall = (
        processor(upright=upright, inference_resize="pad").seen(Media("image", tmp_path / "turned.png"), source())
        for upright in (False, True)
    )
    assert not torch.equal(wide, tall) and torch.equal(wide[0].transpose(1, 2), tall[0])
    (tmp_path / "broken.png").write_bytes(b"\0not a picture")
    with pytest.raises(MediaError, match=r"broken\.png: its first bytes are of no picture format"):
        processor().seen(Media("image", tmp_path / "broken.png"), source())


def test_a_real_clip(media_folder: Path, registry: Any) -> None:
    clip = media_folder / "yoga.mp4"
    if not clip.is_file() or hashlib.sha256(clip.read_bytes()).hexdigest() != PIXELS["yoga_sha256"]:
        pytest.skip(f"{clip} is not the clip of the recording")
    bounds = [(None, None), (2.0, 5.0), (5.0, 2.0), (3.0, 3.0), (-1.0, 4.0), (8.5, 100.0)]
    reader = registry.build("reader", {"name": "auto"})
    seen = 0
    for entry in [entry for entry in PIXELS["entries"] if "video" in entry]:
        count = len(entry["indices"])
        how = {"sampling": "fps"} if count == 10 else {"frames": count}
        for start, end in bounds:
            where = source(spec=spec_of(entry["processor"]), reader=reader, **how)
            media = Media("video", clip, start, end)
            if video.sampled(media, reader.info(clip), where, OfficialProcessorParams()) == entry["indices"]:
                check(processor(**fit(entry["pad"])).seen(media, where), entry)
                seen += 1
    assert seen >= len([entry for entry in PIXELS["entries"] if "video" in entry])


class Greys:
    """A clip of 40 s at 2 frames a second, each frame of one grey."""

    def info(self, path: Path) -> VideoInfo:
        return VideoInfo(frames=80, fps=2.0, height=6, width=8, has_audio=True)

    def frames(self, path: Path, indices: list[int]) -> np.ndarray:
        return np.stack([np.full((6, 8, 3), index, np.uint8) for index in indices])

    def audio(self, path: Path, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        first, stop = round((start or 0) * sampling_rate), round((40 if end is None else end) * sampling_rate)
        return np.arange(first, stop, dtype=np.float32)


def test_only_the_first_frames_of_many_are_seen() -> None:
    clip = Media("video", Path("a.mp4"))
    seen = {
        key: processor(**settings).seen(clip, source(reader=Greys(), **how))[:, 0, 3, 3].tolist()
        for key, settings, how in [
            ("fps", {}, {"sampling": "fps"}),
            ("all", {"max_frames": None}, {"sampling": "fps"}),
            ("uniform", {}, {"frames": 64}),
        ]
    }
    assert seen["all"] == list(range(1, 80, 2)) and seen["fps"] == seen["all"][:32]
    assert seen["uniform"] == midpoints(80, 64)[:32]


def test_frames_are_padded_in_training_and_not_in_inference() -> None:
    clip = Media("video", Path("a.mp4"))
    where = [source(flag, SquarePixels(8, **SIGLIP_LIKE), reader=Greys(), frames=1) for flag in (True, False)]
    padded, squashed = (processor().seen(clip, item) for item in where)
    assert padded[0, :, 0, 0].tolist() == [127] * 3 and squashed[0, :, 0, 0].tolist() == [40] * 3
    assert torch.equal(processor(training_resize="encoder").seen(clip, where[0]), squashed)


def gif(path: Path, pictures: int) -> Path:
    images = [Image.new("RGB", (8, 4), (number * 20, 0, 0)) for number in range(pictures)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=40)
    return path


def test_a_short_gif_ends_in_black(tmp_path: Path, registry: Any) -> None:
    reader = registry.build("reader", {"name": "auto"})
    media = Media("video", gif(tmp_path / "short.gif", 3))
    reds = {
        how: processor(gif=how).seen(media, source(reader=reader, frames=8))[:, 0, 8, 8].tolist()
        for how in ("black", "clip")
    }
    assert reds["black"] == [0, 20, 40, 0, 0, 0, 0, 0]  # each sampled frame once
    assert len(reds["clip"]) == 8 and reds["clip"] == sorted(reds["clip"]) and reds["clip"][-1] > 0
    assert len(processor().seen(media, source(reader=reader, sampling="fps", fps=25.0))) == 3
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    with pytest.raises(MediaError, match=r"broken\.gif"):
        processor().seen(Media("video", tmp_path / "broken.gif"), source(reader=reader))


# -- sound -----------------------------------------------------------------------------------------------------------

BEATS = Fbank(seconds=30.0, pad=True, shortest=16)
HEARING = OfficialProcessorParams(branch="audio_visual")


def sound_file(entry: dict[str, Any], folder: Path | None) -> Path:
    shipped = RECORDINGS / Path(entry["file"]).with_suffix(".flac")
    if shipped.is_file():
        return shipped
    path = (folder or Path()) / entry["file"]
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256_file"]:
        pytest.skip(f"{path} is not the file of the recording")
    return path


# MKL's kernels for the processor at hand may differ in the last bit of a float32, and one in some thousand values then
# falls on the other side of bf16's rounding. Its portable kernels, with which the recordings agree, give every bit.
PORTABLE = os.environ.get("MKL_CBWR") == "COMPATIBLE"


def same(features_FM: torch.Tensor, entry: dict[str, Any]) -> None:
    rounded = features_FM.to(torch.bfloat16)
    assert features_FM.dtype == torch.float32 and torch.equal(rounded.float(), features_FM)
    recorded = load_file(RECORDINGS / "sound.safetensors")[entry["file"]]
    if PORTABLE:
        torch.testing.assert_close(rounded[::32], recorded, rtol=0, atol=0)
        assert hashlib.sha256(rounded.view(torch.int16).numpy().tobytes()).hexdigest() == entry["sha256_bf16"]
    else:
        torch.testing.assert_close(rounded[::32], recorded, rtol=2**-7, atol=0)  # the next number that bf16 has
        assert (rounded[::32] != recorded).float().mean() < 1e-3


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="the recordings are MKL's to the last bit")
def test_sound_is_the_recorded_to_the_last_bit() -> None:
    """The two tests below in a process that has MKL's portable kernels: they are chosen when it starts."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    command += ["-k", "test_sound_files or test_the_track_of_a_video"]
    done = subprocess.run(command, env={**os.environ, "MKL_CBWR": "COMPATIBLE"}, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout


@pytest.mark.parametrize("entry", [e for e in SOUNDS if not e["track"]], ids=lambda entry: entry["file"])
def test_sound_files(entry: dict[str, Any], request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = (RECORDINGS / Path(entry["file"]).with_suffix(".flac")).is_file()
    path = sound_file(entry, None if shipped else request.getfixturevalue("media_folder"))
    waveform_L, rate = sound.first_channel(path)
    assert (rate, len(waveform_L)) == (entry["rate"], entry["frames"])
    spare = entry["frames"] - 30 * entry["rate"]
    if entry["crop_start"] is not None:  # where the recording began

        def drawn(low: int, high: int) -> int:
            assert (low, high) == (0, spare)
            return entry["crop_start"]

        monkeypatch.setattr(random, "randint", drawn)
    ours = processor(branch="audio_visual")
    same(ours.seen(Media("audio", path), source(audio=BEATS)), entry)


@pytest.mark.parametrize("entry", [e for e in SOUNDS if e["track"]], ids=lambda entry: entry["file"])
def test_the_track_of_a_video(entry: dict[str, Any], media_folder: Path, registry: Any) -> None:
    path = sound_file(entry, media_folder)
    reader = registry.build("reader", {"name": "auto"})
    waveform_L = reader.audio(path, 16000, None, None)
    samples = (waveform_L * 32768).astype(np.int16)
    assert len(samples) == entry["samples"]
    assert hashlib.sha256(samples.tobytes()).hexdigest() == entry["sha256_int16"]
    where = source(audio=BEATS, reader=reader)
    for bounds in [(None, None), (1.0, 2.0)]:  # which are ignored
        same(processor(branch="audio_visual").seen(Media("audio", path, *bounds, track=True), where), entry)


def test_clips_of_a_track() -> None:
    entry = next(entry for entry in SOUNDS if entry["track"])
    spans = sound.clip_spans(entry["samples"] / 16000, 8, 2.0)
    assert [[int(begin * 16000), int(end * 16000)] for begin, end in spans] == entry["spans"]
    assert list(sound.clip_spans(1.5, 8, 2.0)) == [(0, 2)] * 8  # shorter than a clip: eight times the same


class Samples:
    """An audio spec whose features are the waveform."""

    sampling_rate = 100
    seconds = 3.0

    def features(self, waveform_L: torch.Tensor) -> torch.Tensor:
        return waveform_L[:, None]


def heard(media: Media, **settings: Any) -> list[float]:
    exact = {"branch": "audio_visual", "round_to_bf16": False, "crop": "start", **settings}
    return processor(**exact).seen(media, source(reader=Greys(), audio=Samples()))[:, 0].tolist()


def test_tracks_can_be_heard_whole_and_within_their_bounds() -> None:
    track = Media("audio", Path("a.mp4"), 1.0, 2.0, track=True)
    assert heard(track, track_clips=0) == list(range(300))
    assert heard(track, track_clips=0, track_bounds=True) == [*range(100, 200), *[0.0] * 200]
    assert heard(track, track_clips=2, track_clip_seconds=1.0) == [*range(100), *range(1950, 2050), *[0.0] * 100]


def test_a_long_sound_is_cut_where_the_setting_says() -> None:
    media = Media("audio", Path("a.mp4"), track=True)
    spare = 100 * 40 - 300
    random.seed(5)
    official = [heard(media, track_clips=0, crop="random")[0] for _ in range(3)]
    random.seed(5)
    assert official == [float(random.randint(0, spare)) for _ in range(3)]
    seeded = [heard(media, track_clips=0, crop="seeded", seed=seed)[0] for seed in (1, 1, 2)]
    assert seeded[0] == seeded[1] != seeded[2] and 0 <= seeded[0] <= spare
    other = heard(Media("audio", Path("b.mp4"), track=True), track_clips=0, crop="seeded", seed=1)
    assert other[0] != seeded[0]


def test_random_sound_is_never_taken_from_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"stands for a clip")
    media = Media("audio", path, track=True)

    def loads(crop: str) -> list[Any]:
        ours = processor(branch="audio_visual", crop=crop, track_clips=0)
        loader = MediaLoader(Greys(), MediaConfig(cache_mb=9), {"audio": Samples()}, None, processor=ours)
        return [loader.load(media) for _ in range(2)]

    first, second = loads("random")
    assert first.key != second.key and not torch.equal(first.tensor, second.tensor)
    first, second = loads("seeded")
    assert first.key == second.key and first.tensor is second.tensor


class Deaf(Greys):
    def audio(self, path: Path, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        raise NoAudioTrack(f"{path}: it has no audio track")


def test_a_missing_track_is_silence_or_follows_the_policy() -> None:
    track = Media("audio", Path("a.mp4"), track=True)
    quiet = processor(branch="audio_visual").seen(track, source(reader=Deaf(), audio=BEATS))
    assert quiet.shape == (2998, 128) and quiet.unique().tolist() == [-15.9375]
    policy = processor(branch="audio_visual", missing_track="policy")
    with pytest.raises(NoAudioTrack):
        policy.seen(track, source(reader=Deaf(), audio=BEATS))
    assert torch.equal(policy.seen(track, source(reader=Deaf(), audio=BEATS, missing_audio="silence")), quiet)


def test_channels_bounds_and_files_without_sound(tmp_path: Path) -> None:
    path = write_clip(tmp_path, ClipSpec("tone.mkv", frames=25, sound="pcm_s16le"))
    spec = Samples()
    spec.sampling_rate = rate = sound.first_channel(path)[1]
    left = sound.of_file(Media("audio", path), source(audio=spec), spec, HEARING)
    assert left.dtype == np.float64 and len(left) == 3 * rate
    part = sound.of_file(Media("audio", path, 0.25, 0.5), source(audio=spec), spec, HEARING)
    np.testing.assert_array_equal(part[: rate // 4], left[rate // 4 : rate // 2])
    assert not part[rate // 4 :].any()
    with pytest.raises(MediaError, match=r"no sound with start=99"):
        sound.of_file(Media("audio", path, 99.0), source(audio=spec), spec, HEARING)
    silent = write_clip(tmp_path, ClipSpec("silent.mp4", frames=5))
    with pytest.raises(NoAudioTrack, match="it has no audio track"):
        sound.first_channel(silent)
    (tmp_path / "noise.wav").write_bytes(b"no sound at all")
    with pytest.raises(MediaError, match=r"noise\.wav: its sound cannot be read"):
        sound.first_channel(tmp_path / "noise.wav")
    mixed = OfficialProcessorParams(branch="audio_visual", channel="mixed")
    both = sound.of_file(Media("audio", path), source(audio=BEATS, reader=Greys()), BEATS, mixed)
    assert both.dtype == np.float64 and len(both) == 480000


@pytest.mark.parametrize(("length", "rate"), [(800, 8000), (803, 8000), (441, 44100), (2205, 22050), (999, 48000)])
def test_resampling_is_that_of_scipy(length: int, rate: int) -> None:
    """As recorded from ``scipy.signal.resample`` (1.17.1)."""
    recorded_L = load_file(RECORDINGS / "resampled.safetensors")[f"{length}@{rate}"].numpy()
    waveform_L = np.random.default_rng(0).standard_normal(length)
    np.testing.assert_allclose(sound.resampled(waveform_L, rate, 16000), recorded_L, rtol=0, atol=1e-12)


# -- the choice ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"branch": "master"}, "processor.branch is 'master'; it can be main, audio_visual"),
        ({"crop": "middle"}, "processor.crop is 'middle'; it can be random, seeded, start"),
        ({"training_resize": "square"}, "processor.training_resize is 'square'; it can be pad, encoder"),
        ({"max_frames": 0}, "processor.max_frames is 0; it must be at least 1"),
        ({"track_clip_seconds": 0.0}, "processor.track_clip_seconds is 0.0; it must be more than 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        processor(**settings)


def test_types_are_checked_when_the_config_is_composed(registry: Any) -> None:
    with pytest.raises(ConfigError, match=r"processor\.max_frames"):
        compose("train", [*TINY, "processor=videollama2", "processor.max_frames=many"], registry)
    with pytest.raises(ConfigError, match=r"processor\.brunch.*branch"):
        compose("train", [*TINY, "processor=videollama2", "processor.brunch=main"], registry)


def test_presets(registry: Any) -> None:
    chosen = {
        name: compose("train", [*TINY, f"processor={name}"], registry).processor
        for name in ("videollama2", "videollama2_pretrain", "videollama2_av", "videollama2_av_pretrain")
    }
    assert {config["name"] for config in chosen.values()} == {"videollama2"}
    assert [chosen[name]["pretraining"] for name in chosen] == [False, True, False, True]
    assert [chosen[name]["branch"] for name in chosen] == ["main", "main", "audio_visual", "audio_visual"]
    assert chosen["videollama2_pretrain"]["training_resize"] == "encoder"
    assert chosen["videollama2"] == {"name": "videollama2", **vars(OfficialProcessorParams())}


def test_without_a_protocol_nothing_is_asked(registry: Any) -> None:
    pipeline = tiny_pipeline(registry)
    assert pipeline.processor is None
    rows = pipeline.prepared([Sample("x", (Turn("user", "?"), Turn("assistant", "a")))], answers=True)
    assert rows.processor is None and rows.loader.processor is None and rows[0].hidden is None


def test_a_session_obeys_and_a_model_answers(registry: Any, tmp_path: Path) -> None:
    pipeline = tiny_pipeline(registry, "processor=videollama2_av", "audio_encoder=beats_tiny")
    path = write_clip(tmp_path, ClipSpec("clip.mp4", frames=20, sound="aac"))
    still = Image.new("RGB", (20, 10), (9, 9, 9))
    still.save(tmp_path / "still.png")
    pair = (Media("video", path), Media("audio", path, track=True))
    answer = Turn("assistant", "left")
    samples = [
        Sample("both", (Turn("user", "<video><audio>\nWhat?"), answer), pair),
        Sample("image", (Turn("user", "<image>\nWhat?"), answer), (Media("image", tmp_path / "still.png"),)),
        Sample("text", (Turn("user", "What?"), answer)),
    ]
    for answers in (True, False):
        rows = pipeline.prepared(samples, answers=answers)
        items = [rows[index] for index in range(3)]
        assert all(isinstance(item, PreparedSample) for item in items)
        batch = Collate(left=not answers)(items)
        assert [file.kind for file in batch.files] == ["video", "audio", "image"]
        assert len(batch.slots_N) == sum(use.tokens for use in batch.uses)
        ids, _ = shown(batch)
        for kind, token in PLACEHOLDERS.items():
            there = sum(use.tokens for use in batch.uses if batch.files[use.file].kind == kind)
            assert sum(row.count(token) for row in ids) == there
        frames_TCYX = batch.files[2].tensor
        assert (frames_TCYX[0, 0, 0, 0] != 9) == answers  # bars in training, none in inference
        if answers:
            assert torch.isfinite(pipeline.model(batch).total)
        else:
            assert pipeline.model.generate(batch, max_new_tokens=2).shape[0] == 3
    assert PLACEHOLDERS["image"] in items[1].ids


def test_evaluation_obeys(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny_pipeline(registry, "processor=videollama2", "processor.system_prompt=always")
    asked = []

    def generate(batch: Batch, cache: Any, **sampling: Any) -> torch.Tensor:
        asked.append(pipeline.model.llm.tokenizer.decode(batch.ids_BS[0]))
        return torch.zeros(len(batch), 1, dtype=torch.long)

    monkeypatch.setattr(pipeline.model, "generate", generate)
    samples = [Sample("x", (Turn("user", "Which way?"),), answer="left")]
    benchmark = SimpleNamespace(samples=samples, max_new_tokens=1, parse=lambda *_: "left", correct=lambda *_: True)
    judge = Judge("benchmark", benchmark)
    questions = Questions("benchmark", benchmark, judge, AskingConfig(), pipeline, "")
    outcome = ask(questions, QuarantineLog(), batch_size=1)
    assert [dict(item.scores) for item in outcome.predictions] == [{"accuracy": True}]
    assert "<<SYS>>" in asked[0] and "\nWhich way?" in asked[0]


def test_training_and_prediction_obey_the_saved_choice(tmp_path: Path) -> None:
    file = manifest(tmp_path)
    more = ["processor=videollama2", "processor.system_prompt=always", "stages.main.steps=1"]
    vlframe("train", *training(file, *more), cwd=tmp_path)
    run = only_run(tmp_path)
    saved = read_yaml(run / "config.yaml")["processor"]
    assert saved == {
        "name": "videollama2",
        **vars(OfficialProcessorParams(system_prompt="always")),
    }
    vlframe("predict", f"run={run}", "prompt=Which way?", "max_new_tokens=2", cwd=tmp_path)

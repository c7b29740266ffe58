"""The kit for plugin authors: ours pass it, and every kind of broken component is caught and told why."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

import vlframe
from vlframe import testing
from vlframe.app import compose
from vlframe.registry import Registry
from vlframe.testing import ContractError, check_benchmark, check_connector, check_dataset, check_encoder, check_plugin

CHECKS = {kind: getattr(testing, f"check_{kind}") for kind in (
    "encoder", "connector", "audio_encoder", "audio_connector", "llm", "reader",
)}  # fmt: skip
OURS = {
    "encoder": ["vit_tiny", "clip_tiny", "siglip_tiny", "timm_tiny"],
    "connector": [
        "linear", "mlp", "pool_tiny", "qformer_tiny", "stc_tiny", "stc_v35_tiny", "stp_tiny", "spatial_conv",
        "spatial_pool",
    ],
    "audio_encoder": ["beats_tiny", "whisper_micro"],
    "audio_connector": ["linear", "mlp"],
    "llm": ["tiny", "tiny_qwen2", "tiny_llama", "tiny_mixtral"],
    "reader": ["auto", "decord", "pyav"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- ours ---


@pytest.mark.parametrize("kind, option", [(kind, option) for kind, options in OURS.items() for option in options])
def test_our_components_keep_their_promises(kind: str, option: str, registry: Registry) -> None:
    config = OmegaConf.to_container(compose("train", [f"{kind}={option}"], registry)[kind])
    CHECKS[kind](config.pop("name"), config)


def test_the_list_of_ours_is_whole(registry: Registry) -> None:
    for kind, options in OURS.items():
        named = {compose("train", [f"{kind}={option}"], registry)[kind].name for option in options}
        assert named == set(registry.names(kind))


def test_our_plugins_and_presets_are_sound() -> None:
    check_plugin("vlframe")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("motionqa")
    return {"split": "validation", "clips": 4, "folder": str(folder)}


def test_our_generated_data_set(clips: dict[str, Any]) -> None:
    check_dataset("motionqa", clips)
    check_benchmark("exact_match", dataset={"name": "motionqa", **clips})


def test_our_manifests(tmp_path: Path) -> None:
    rows = [
        {"id": f"q{i}", "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": f"For {i}."}]}
        for i in range(5)
    ]
    manifest = tmp_path / "rows.json"
    manifest.write_text(json.dumps(rows))
    check_dataset("conversations", {"path": str(manifest)})


def questions(count: int = 4) -> list[vlframe.Sample]:
    options = ("red", "green", "blue")
    return [
        vlframe.Sample(f"q{i}", (vlframe.Turn("user", "Which colour?"),), answer=options[i % 3], options=options)
        for i in range(count)
    ]


@pytest.mark.parametrize("name", ["multiple_choice", "exact_match"])
def test_our_benchmarks(name: str) -> None:
    check_benchmark(name, dataset=questions())


# --- broken connectors: each differs from a sound one in one thing ---


class Sound(nn.Module):
    """A mean over frames and a linear map: what every class below is but for one thing."""

    expands_images = True

    def __init__(self, *, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.map = nn.Linear(in_dim, out_dim)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        return grid.height * grid.width

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return self.map(features_BTHWD.mean(1).flatten(1, 2))

    def still(self, features_BHWD: Tensor, frames: int) -> Tensor:
        return self.map(features_BHWD.flatten(1, 2))


class CountsWrong(Sound):
    def tokens(self, grid):
        return grid.height * grid.width + 1


class CountsFloats(Sound):
    def tokens(self, grid):
        return grid.positions / grid.frames


class CrashesOnGrid(Sound):
    def tokens(self, grid):
        raise KeyError("grid")


class TakesNothing(Sound):
    def tokens(self, grid):
        raise vlframe.ConfigError("too small")


class Crashes(Sound):
    def forward(self, features_BTHWD):
        return self.map(features_BTHWD.view(1, 2, 3))


class SaysNothingOfImages(Sound):
    expands_images = None


class StillDiffers(Sound):
    def still(self, features_BHWD, frames):
        return super().still(features_BHWD, frames) * (1 + frames / 10)


class StillUnasked(Sound):
    expands_images = False


class ReadsWeightsWhilePlanning(Sound):
    def __init__(self, **widths):
        super().__init__(**widths)
        with torch.device("cpu"):
            self.weights = nn.Parameter(torch.zeros(3))


class PlansOtherwise(Sound):
    def __init__(self, **widths):
        super().__init__(**widths)
        if vlframe.planning():
            self.map = nn.Linear(3, 4)


class Unused(Sound):
    def __init__(self, **widths):
        super().__init__(**widths)
        self.spare = nn.Linear(2, 2)


class Detached(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD.detach())


class NoGradient(Sound):
    def forward(self, features_BTHWD):
        with torch.no_grad():
            return super().forward(features_BTHWD)


class Drops(Sound):
    def forward(self, features_BTHWD):
        return super().forward(nn.functional.dropout(features_BTHWD, 0.5, training=True))


class Draws(Sound):
    def forward(self, features_BTHWD):
        torch.rand(1), random.random(), np.random.rand()
        return super().forward(features_BTHWD)


class Mixes(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD - features_BTHWD.mean(0))


class WritesInput(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD.clamp_(-0.1, 0.1))


class Doubles(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD).double()


class OnlyFloat32(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD) * float(np.abs(self.map.weight.detach().numpy()).max())


class Infinite(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD) / 0


class Forgets(Sound):
    built = 0

    def __init__(self, **widths):
        super().__init__(**widths)
        Forgets.built += 1
        self.scale = Forgets.built  # what it was built with is in no state dict

    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD) * self.scale


class TrainsOtherwise(Sound):
    def forward(self, features_BTHWD):
        tokens_BNE = super().forward(features_BTHWD)
        return tokens_BNE[:, 1:] if self.training else tokens_BNE


class NoModule:
    expands_images = False

    def __init__(self, **widths):
        pass

    def tokens(self, grid):
        return 1


CAUGHT = {
    CountsWrong: ["4x4x4 grid", "tokens() says 17", "(2, 16, 32)", "promises (2, 17, 32)"],
    CountsFloats: ["tokens(4x4x4) is 16.0", "number of tokens"],
    CrashesOnGrid: ["tokens(4x4x4) fails with KeyError", "vlframe.ConfigError"],
    TakesNothing: ["accepts none of the grids", "give grids="],
    Crashes: ["forward of a 4x4x4 grid", "fails with RuntimeError"],
    SaysNothingOfImages: ["expands_images is None", "True or False"],
    StillDiffers: ["still() of 4x4 features differs from forward of 1 equal frames"],
    StillUnasked: ["still()", "never asked"],
    ReadsWeightsWhilePlanning: ["real memory for weights on the meta device", "vlframe.planning()"],
    PlansOtherwise: ["other parameters while planning", "map.weight"],
    Unused: ["no gradient reaches spare.weight, spare.bias", "unused="],
    Detached: ["no gradient reaches the input"],
    NoGradient: ["cut off from its parameters"],
    Drops: ["draws from the global random numbers of torch in eval mode"],
    Draws: ["global random numbers of torch and random and numpy"],
    Mixes: ["row 0", "depends on the other rows"],
    WritesInput: ["writes into its input"],
    Doubles: ["torch.float64 with float32 weights"],
    OnlyFloat32: ["bf16 run", "fails with"],
    Infinite: ["NaN or infinity"],
    Forgets: ["not in state_dict()"],
    TrainsOtherwise: ["(2, 15, 32) in train mode"],
    NoModule: ["is a NoModule", "torch.nn.Module"],
}


def refusal(check: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ContractError) as caught:
        check(*arguments, **options)
    return str(caught.value)


def test_a_sound_connector_passes() -> None:
    check_connector(Sound)
    check_connector(Unused, unused=["spare"])


@pytest.mark.parametrize("broken", CAUGHT, ids=lambda cls: cls.__name__)
def test_a_broken_connector_is_caught(broken: type) -> None:
    message = refusal(check_connector, broken)
    for word in (f"connector {broken.__name__!r}", *CAUGHT[broken]):
        assert word in message, message


def test_parameters_declared_unused_in_vain() -> None:
    assert "unused=['map']" in refusal(check_connector, Sound, unused=["map"])


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(LookupError, match=r"no connector named 'sct'; there are .*'stc'"):
        check_connector("sct")


# --- other kinds ---


class Patches(nn.Module):
    dim = 8
    pixels = vlframe.PixelSpec(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self, *, side: int = 2, missing: str = "") -> None:
        super().__init__()
        self.side = side
        self.patches = nn.Conv2d(3, 8, 8, 8)
        if missing:
            setattr(self, missing, None)

    def grid(self, frames: int) -> vlframe.VideoGrid:
        return vlframe.VideoGrid(frames, self.side, self.side)

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        return self.patches(pixels_BTCYX.flatten(0, 1)).movedim(1, -1).unflatten(0, pixels_BTCYX.shape[:2])


class ReadsSource(Patches):
    def __init__(self, *, source: str | None) -> None:
        super().__init__()
        if source is not None:
            Path(source).read_bytes()


def test_encoders() -> None:
    message = refusal(check_encoder, ReadsSource, {"source": None})
    assert "source that is not here fails with FileNotFoundError" in message and "vlframe.planning()" in message
    check_encoder(Patches)
    assert "grid() says 1x3x3 of 8, gives shape (2, 1, 2, 2, 8)" in refusal(check_encoder, Patches, {"side": 3})
    assert "pixels is None; it must be a vlframe.PixelSpec" in refusal(check_encoder, Patches, {"missing": "pixels"})
    assert "dim is None" in refusal(check_encoder, Patches, {"missing": "dim"})


class Questions:
    """A data set of given samples."""

    def __init__(self, *, samples: Sequence[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


def test_data_sets() -> None:
    good = questions()
    video = vlframe.Media("video", Path("gone.mp4"))
    check_dataset(Questions, {"samples": good})
    for samples, words in (
        ([], "is empty"),
        ([*good, good[0]], "samples 0 and 4 have the same id 'q0'"),
        ([{"id": "a"}], "sample 0 is a dict; it must be a vlframe.Sample"),
        ([replace(good[0], media=(video,))], "has the tags [] in its text and the media ['video']"),
        ([replace(good[0], media=(video,), turns=(vlframe.Turn("user", "<video>?"),))], "gone.mp4, which is not there"),
        ([replace(good[0], answer=None)], "neither an assistant's turn nor an answer"),
        ([replace(good[0], turns=(vlframe.Turn("bot", "Hello"),))], "user, assistant"),
    ):
        assert words in refusal(check_dataset, Questions, {"samples": samples})


class Miscounted(Questions):
    @classmethod
    def entries(cls, *, samples: Sequence[Any]) -> Iterator[vlframe.Entry]:
        return (vlframe.Entry(f"row {at}", sample) for at, sample in enumerate(reversed(samples[:4])))


def test_entries_are_the_samples() -> None:
    good = questions(5)
    assert "entries() gives 4 rows, and the data set has 5 samples" in refusal(
        check_dataset, Miscounted, {"samples": good}
    )
    assert "row 0 of entries() is Entry(where='row 0'" in refusal(check_dataset, Miscounted, {"samples": good[:4]})


class Lenient:
    """Multiple choice that takes any text with the answer's first letter in it as right."""

    max_new_tokens = 8

    def __init__(self, *, dataset: Sequence[vlframe.Sample]) -> None:
        self.samples = list(dataset)

    def parse(self, text: str, sample: vlframe.Sample) -> str | None:
        return text

    def correct(self, answer: str, sample: vlframe.Sample) -> bool:
        return sample.answer[0] in answer


class Blank(Lenient):
    def correct(self, answer, sample):
        return answer.strip() in sample.answer


class Deaf(Lenient):
    def parse(self, text, sample):
        return None


def test_benchmarks() -> None:
    assert "of the options ['red', 'green', 'blue']" in refusal(check_benchmark, Lenient, dataset=questions())
    assert "as a right answer" in refusal(check_benchmark, Blank, dataset=questions())
    assert "does not take the right answer" in refusal(check_benchmark, Deaf, dataset=questions())
    assert "has no questions" in refusal(check_benchmark, Lenient, dataset=[])


def test_readers(registry: Registry) -> None:
    reader = type(registry.build("reader", {"name": "pyav"}))

    class Backwards(reader):
        def frames(self, path, indices):
            return super().frames(path, indices)[::-1]

    class BlueIsRed(reader):
        def frames(self, path, indices):
            return super().frames(path, indices)[..., ::-1]

    class Sorts(reader):
        def frames(self, path, indices):
            return super().frames(path, sorted(indices))

    class Loud(reader):
        def audio(self, *arguments):
            return super().audio(*arguments) * 2**15

    class Forgiving(reader):
        def audio(self, path, rate, start, end):
            try:
                return super().audio(path, rate, start, end)
            except vlframe.NoAudioTrack:
                return np.zeros(rate, np.float32)

    for broken, words in (
        (Backwards, "is not the picture that was written"),
        (BlueIsRed, "RGB"),
        (Sorts, "frames([17, 3, 3, 22]) are not the same frames"),
        (Loud, "mono float32 in [-1, 1]"),
        (Forgiving, "the sound of a silent film is read without a word; it must raise a vlframe.NoAudioTrack"),
    ):
        broken.__module__, broken.__qualname__ = __name__, broken.__name__
        globals()[broken.__name__] = broken  # so that it can be pickled
        assert words in refusal(testing.check_reader, broken)

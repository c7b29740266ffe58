"""The core knows no model, data set, benchmark or checkpoint format: not in code, not in strings, not in comments."""

import re
from pathlib import Path

import pytest
from helpers.sources import CORE, ROOT

from vlframe.paths import conf_folder
from vlframe.registry.presets import preset_files
from vlframe.registry.registry import Registry

KINDS = (
    "encoder", "connector", "audio_encoder", "audio_connector", "llm", "dataset", "benchmark", "processor",
    "checkpoint_format",
)  # fmt: skip
# Families, as prose names them; the names of components and presets come from the registry.
FAMILIES = (
    "VideoLLaMA", "Video-LLaMA", "LLaVA", "BLIP", "InternVL", "VideoChat", "Mistral", "Mixtral", "Vicuna", "Qwen",
    "Llama", "LLaMA", "Alpaca", "OPT", "GPT2", "GPT-2", "GPTNeoX", "Pythia", "Falcon", "Gemma", "Phi",
    "MPT", "InternLM", "DeepSeek", "ChatGLM", "GLM", "BLOOM", "T5", "BERT", "MiniGPT", "MiniGPT-4", "Flamingo",
    "mPLUG", "VideoMAE", "VideoMAEv2", "InternVideo", "TimeSformer", "ViViT", "UMT", "DINO", "DINOv2", "EVA", "BEiT",
    "ViT", "ImageBind", "LanguageBind", "CLAP", "HuBERT", "wav2vec", "AST", "TimeChat", "LongVA", "VILA", "Tarsier",
    "SlowFast", "Perceiver", "Resampler", "STC",
    "MVBench", "Video-MME", "VideoMME", "EgoSchema", "MSVD", "MSRVTT", "MSR-VTT", "ActivityNet", "NExT-QA", "TGIF",
    "WebVid", "Valley", "ShareGPT", "Kinetics", "COCO", "LAION", "MMLU",
    "SmolLM", "BEATs", "Whisper", "SigLIP", "CLIP", "CLIPImageProcessor", "SiglipImageProcessor", "MotionQA",
    "Q-Former",
)  # fmt: skip
# Component names that are words of their own, in the spelling that is one.
PLAIN = {
    "clip": "a short video",
    "conversations": "what people have with a model",
    "Conversations": "the same, at the beginning of a sentence",
    "linear": "the kind of a layer",
    "Linear": "torch.nn.Linear",
    "pool": "of processes",
    "tiny": "very small",
    "timm": "the library, among those that are slow to import",
    "Bloom": "the author of a paper",
}


def installed_names() -> set[str]:
    registry = Registry.installed(strict=True)
    components = {name for kind in KINDS for name in registry.names(kind)}
    presets = {
        name
        for group in (*KINDS, "model")
        for name, file in preset_files(group, registry).items()
        if not file.is_relative_to(conf_folder())
    }
    return components | presets


@pytest.fixture(scope="module")
def pattern() -> re.Pattern[str]:
    words = sorted({*installed_names(), *FAMILIES}, key=len, reverse=True)
    return re.compile(rf"(?<![A-Za-z0-9_])({'|'.join(map(re.escape, words))})(?![A-Za-z0-9_])", re.IGNORECASE)


def found(file: Path, pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{number}: {match[0]}"
        for number, line in enumerate(file.read_text().splitlines(), 1)
        for match in pattern.finditer(line)
        if match[0] not in PLAIN
    ]


@pytest.mark.parametrize("file", CORE, ids=lambda file: file.relative_to(ROOT / "vlframe").as_posix())
def test_the_core_names_no_component(file: Path, pattern: re.Pattern[str]) -> None:
    assert not (names := found(file, pattern)), "\n".join(names)


def test_the_pattern_finds_what_it_is_to_find(pattern: re.Pattern[str], tmp_path: Path) -> None:
    for text in ("model=videollama2_7b", "a CLIP tower", "# as Qwen does", "connector=stc", "a videollama2 folder"):
        assert pattern.search(text) and pattern.search(text)[0] not in PLAIN, text
    for text in ("a clip of 2 s", "stochastic", "nn.Linear(3, 4)", "the process pool"):
        assert all(match[0] in PLAIN for match in pattern.finditer(text)), text


def test_the_configs_of_the_core_name_components_only_where_a_run_begins(pattern: re.Pattern[str]) -> None:
    """In the default parts of a run, in the quickstart, and where the file of a user is read."""
    folder = conf_folder()
    begin = {"train.yaml", "experiment/quickstart.yaml", "experiment/quickstart_av.yaml", "dataset/manifest.yaml"}
    for file in sorted(folder.rglob("*.yaml")):
        if file.relative_to(folder).as_posix() not in begin:
            assert not (names := found(file, pattern)), names

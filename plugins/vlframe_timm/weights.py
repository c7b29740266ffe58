"""Load a timm model's weights: timm's download or a local file, with timm's or torchvision's names; always strict."""

from pathlib import Path
from typing import Any

import timm
from timm.models import clean_state_dict
from torch import Tensor, nn

from vlframe import ConfigError, WeightsError, did_you_mean, load_strict, read_tensors

NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")  # keys that hold the tensors in timm's checkpoints
# The blocks of MobileNetV2: torchvision numbers them consecutively (features.1 to features.17), timm by stage.
_REPEATS = (1, 2, 3, 4, 3, 3, 1)
_BLOCKS = [f"blocks.{stage}.{index}" for stage, repeats in enumerate(_REPEATS) for index in range(repeats)]
_FIRST = {"conv.0.0": "conv_dw", "conv.0.1": "bn1", "conv.1": "conv_pw", "conv.2": "bn2"}  # it does not expand
_OTHERS = {
    "conv.0.0": "conv_pw",
    "conv.0.1": "bn1",
    "conv.1.0": "conv_dw",
    "conv.1.1": "bn2",
    "conv.2": "conv_pwl",
    "conv.3": "bn3",
}
# torchvision's module -> timm's, by model. The architectures are the same, layer for layer.
TORCHVISION = {
    "mobilenetv2_100": {
        "features.0.0": "conv_stem",
        "features.0.1": "bn1",
        **{
            f"features.{number}.{theirs}": f"{block}.{ours}"
            for number, block in enumerate(_BLOCKS, start=1)
            for theirs, ours in (_FIRST if number == 1 else _OTHERS).items()
        },
        "features.18.0": "conv_head",
        "features.18.1": "bn2",
        "classifier.1": "classifier",
    }
}


def create(name: str, pretrained: bool = False) -> nn.Module:
    """Create the whole model, with the classifier its weights were published with."""
    family = name.split(".")[0]
    if not timm.is_model(family):
        hint = did_you_mean(family, timm.list_models()) or "; timm.list_models() shows them all"
        raise ConfigError(f"timm has no model {name!r}{hint}")
    try:
        return timm.create_model(name, pretrained=pretrained)
    except RuntimeError as error:
        raise ConfigError(f"timm cannot make {name!r}{' with its weights' if pretrained else ''}: {error}") from error


def load(name: str, source: str) -> nn.Module:
    """Load a model. The classifier, which an encoder does not run, may be missing or of another size; nothing else."""
    if source == "pretrained":
        try:
            return create(name, pretrained=True)
        except OSError as error:
            raise WeightsError(f"timm's weights of {name} cannot be had: {error}") from error
    if not Path(source).is_file():
        raise WeightsError(f"source is {source!r}, and there is no such file; give a file, 'pretrained' or null")
    model: Any = create(name)
    weights = to_timm(name, clean_state_dict(read_tensors(Path(source), inside=NESTED)))
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    ignored = [key for key in {*weights, *model.state_dict()} if key.rpartition(".")[0] in heads]
    kept = {key: value for key, value in weights.items() if key not in ignored}
    load_strict(model, kept, source, ignore=ignored)
    return model


def to_timm(name: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate torchvision's names to timm's, if there is a table; timm's own pass unchanged."""
    table = TORCHVISION.get(name.split(".")[0], {})

    def rename(key: str) -> str:
        module, _, leaf = key.rpartition(".")
        return f"{table[module]}.{leaf}" if module in table else key

    return {rename(key): value for key, value in weights.items()}

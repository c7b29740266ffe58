"""What is said of a source that transformers cannot read."""

from pathlib import Path
from typing import Any, NoReturn

import pytest
from transformers import ViTConfig, ViTModel

import vlframe.weights.transformers_part as transformers_part
from vlframe.errors import WeightsError


class Unreachable:
    """A config class whose source is nowhere."""

    @classmethod
    def from_pretrained(cls, source: str) -> NoReturn:
        raise OSError("We couldn't connect.\nCheck your internet connection.")


@pytest.mark.parametrize(
    ("offline", "words"),
    [
        (True, "HF_HUB_OFFLINE=1 forbids fetching it; fetch it once with `hf download a/b`"),
        (False, "Check your internet"),
    ],
)
def test_a_hub_id_that_cannot_be_fetched(offline: bool, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_part, "is_offline_mode", lambda: offline)
    kind: Any = Unreachable
    with pytest.raises(WeightsError) as error:
        transformers_part._read(kind, "a/b")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_part_is_read_as_it_was_planned(tmp_path: Path) -> None:
    """Its class may have further arguments, which decide what is built: here, no pooling, which the weights lack."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    planned = ViTModel(ViTConfig(**sizes, intermediate_size=8), add_pooling_layer=False)
    planned.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"lacks 2 weights of ViTModel: pooler\.dense\.bias"):
        transformers_part.pretrained_part(ViTModel, str(tmp_path), planned.config)
    read = transformers_part.pretrained_part(ViTModel, str(tmp_path), planned.config, add_pooling_layer=False)
    assert {name: item.sum().item() for name, item in read.state_dict().items()} == {
        name: item.sum().item() for name, item in planned.state_dict().items()
    }

"""What is said of a source that transformers cannot read."""

from typing import Any, NoReturn

import pytest

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

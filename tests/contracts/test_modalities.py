"""The table of modalities: what a plugin may put into it."""

from collections.abc import Iterator

import pytest

from vlframe.contracts.modalities import MODALITIES, TAGS, MediaKind, Modality, add_modality, forget_plugins_modalities
from vlframe.errors import PluginError

DEPTH = MediaKind("depth", -300, "depth_maps:DepthDecoder")


@pytest.fixture(autouse=True)
def first_party_after() -> Iterator[None]:
    yield
    forget_plugins_modalities()


def modality(*media: MediaKind, name: str = "depth", branch: str | None = "depth_maps:DepthBranch") -> Modality:
    return Modality(name, media, f"{name}_encoder", f"{name}_connector", branch)


def test_a_modality_is_added_once_and_forgotten() -> None:
    add_modality(modality(DEPTH))
    add_modality(modality(DEPTH))
    assert list(MODALITIES) == ["video", "audio", "depth"] and TAGS["depth"] == "<depth>"
    forget_plugins_modalities()
    assert list(MODALITIES) == ["video", "audio"] and "depth" not in TAGS


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (modality(DEPTH, name="video"), "already exist"),
        (modality(MediaKind("image", -300, "a:B")), "already exist"),
        (modality(MediaKind("depth", -200, "a:B")), "placeholders"),
        (modality(MediaKind("depth", 7, "a:B")), "placeholders"),
        (modality(MediaKind("depth", -300, None)), "no decoder"),
        (modality(DEPTH, branch=None), "names no branch"),
    ],
)
def test_what_cannot_be_added_is_said(wrong: Modality, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        add_modality(wrong)
    assert list(MODALITIES) == ["video", "audio"] and "depth" not in TAGS

"""The table of modalities: what a plugin may put into it."""

from collections.abc import Iterator
from dataclasses import replace

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
        (modality(DEPTH, branch="depth_maps.DepthBranch"), "has the path 'depth_maps.DepthBranch'"),
        (modality(MediaKind("depth", -300, "Decoder")), "has the path 'Decoder'"),
        (modality(), "at least one"),
        (replace(modality(DEPTH), media=DEPTH), "a tuple of vlframe.MediaKind"),
        (replace(modality(DEPTH), media=("depth",)), "a tuple of vlframe.MediaKind"),
        (modality(DEPTH, DEPTH), "already exist"),
        (modality(DEPTH, replace(DEPTH, name="normals")), "placeholders"),
        (modality(replace(DEPTH, placeholder=-300.5)), "placeholders"),
        (modality(replace(DEPTH, name="depth map")), "has the name 'depth map'"),
        (modality(replace(DEPTH, name="class")), "has the name 'class'"),
        (modality(DEPTH, name="Depth"), "has the name 'Depth'"),
        (replace(modality(DEPTH), encoder="depth__encoder"), "has the name 'depth__encoder'"),
        (replace(modality(DEPTH), connector="depth-connector"), "has the name 'depth-connector'"),
        (replace(modality(DEPTH), encoder="encoder"), "'encoder' is taken"),
        (replace(modality(DEPTH), connector="audio_connector"), "'audio_connector' is taken"),
        (replace(modality(DEPTH), encoder="llm"), "'llm' is taken"),
        (replace(modality(DEPTH), connector="depth_encoder"), "'depth_encoder' is taken"),
        (replace(modality(DEPTH), connector="seed"), "'seed' is taken"),
    ],
)
def test_what_cannot_be_added_is_said(wrong: Modality, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        add_modality(wrong, {"seed"})
    assert list(MODALITIES) == ["video", "audio"] and "depth" not in TAGS

"""A run's config that is read back with plugins that have changed since."""

from pathlib import Path

import pytest
from helpers.compositions import TINY

from vlframe.composer.compose import compose
from vlframe.config.typed import plain, to_yaml
from vlframe.errors import ConfigError
from vlframe.runs.folder import RunFolder
from vlframe.runs.saved import checked

HINT = "If a plugin has changed since the run was made, use the version that it was made with, or take the key out"


@pytest.mark.parametrize("kind", ["encoder", "connector", "llm", "reader"])
def test_a_parameter_that_a_component_has_no_more(kind: str, registry, tmp_path: Path) -> None:
    saved = plain(
        compose("train", [*TINY, "dataset=motionqa", "+stage@stages.main=tune", "stages.main.steps=1"], registry)
    )
    assert checked(saved, registry).connector["name"] == "stc"
    saved[kind] = {**saved[kind], "gone": 3}
    with pytest.raises(
        ConfigError, match=f"the config of the run: {kind} '.*' has no parameter 'gone'; it has .*{HINT}"
    ):
        checked(saved, registry)
    file = tmp_path / RunFolder(tmp_path).config.name
    file.write_text(to_yaml(saved))
    with pytest.raises(ConfigError, match=f"{kind} '.*' has no parameter 'gone'.*{HINT}"):
        compose("train", [f"resume={tmp_path}"], registry)


def test_a_value_that_is_wrong_is_not_said_to_be_a_change(registry) -> None:
    saved = plain(compose("train", TINY, registry))
    saved["connector"] = {**saved["connector"], "depth": "deep"}
    with pytest.raises(ConfigError) as error:
        checked(saved, registry)
    assert "'deep'" in str(error.value) and HINT not in str(error.value)

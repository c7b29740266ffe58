"""Old names of keys lead to the present ones."""

import pytest

from vlframe.composer.compose import compose, open_registry
from vlframe.config.renamed import RENAMED, present_key
from vlframe.config.schema import ConvertConfig, RunConfig, StageConfig
from vlframe.errors import ConfigError


@pytest.mark.parametrize(
    ("word", "now"),
    [
        ("text.context=150", "text.max_length"),
        ("media.sampling=fps", "media.sampler"),
        ("media.fps=2", "media.sampler.fps"),
        ("protocol=videollama2", "processor"),
        ("stages.main.accumulate=2", "stages.main.accumulate_grad_batches"),
        ("stages.main.clip_norm=1", "stages.main.max_grad_norm"),
        ("+stages.main.fit=pad", "stages.main.resize"),
    ],
)
def test_an_old_name_of_a_key_leads_on(word: str, now: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose("train", ["+stage@stages.main=tune", "stages.main.steps=1", word], open_registry())
    assert f"Did you mean {now}?" in str(error.value) and repr(word.partition("=")[0].lstrip("+")) in str(error.value)


def test_every_name_leads_to_a_key_that_there_is() -> None:
    holders = {"text": "TextConfig", "media": "MediaConfig"}
    known = {*RunConfig.__dataclass_fields__, *StageConfig.__dataclass_fields__, *ConvertConfig.__dataclass_fields__}
    from vlframe.config import schema

    for old, new in RENAMED.items():
        group, _, rest = new.partition(".")
        fields = getattr(schema, holders[group]).__dataclass_fields__ if rest else known
        assert (rest or new).partition(".")[0] in fields and old not in known
    assert present_key("text.max_length") is None and present_key("context") is None
    assert present_key("protocol.bounds") == "processor.bounds"

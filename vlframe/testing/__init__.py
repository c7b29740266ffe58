"""Checks that plugin authors can run on their components, in tests of any framework.

    from vlframe.testing import check_connector, check_plugin

    def test_the_connector():
        check_connector("my_thing", {"queries": 4})

    def test_the_rest_of_the_package():
        check_plugin("vlframe-mything")

Each check takes the name of an installed component with its parameters (others have the row's defaults), or a class
with all of them. A broken contract raises a ``ContractError`` that says what is broken. Use small sizes: every
component is built several times, on the CPU. The result is deterministic on one machine.
"""

from vlframe.testing.audio import check_audio_connector, check_audio_encoder
from vlframe.testing.benchmark import check_benchmark
from vlframe.testing.checkpoint_format import check_checkpoint_format
from vlframe.testing.dataset import check_dataset
from vlframe.testing.language import check_llm
from vlframe.testing.objective import check_objective
from vlframe.testing.pixels import check_pixels
from vlframe.testing.plugin import check_plugin
from vlframe.testing.processor import check_processor
from vlframe.testing.reader import check_reader
from vlframe.testing.sampler import check_sampler
from vlframe.testing.subject import ContractError
from vlframe.testing.video import check_connector, check_encoder
from vlframe.testing.watching import check_callback, check_logger

__all__ = [
    "ContractError",
    "check_audio_connector",
    "check_audio_encoder",
    "check_benchmark",
    "check_callback",
    "check_checkpoint_format",
    "check_connector",
    "check_dataset",
    "check_encoder",
    "check_llm",
    "check_logger",
    "check_objective",
    "check_pixels",
    "check_plugin",
    "check_processor",
    "check_reader",
    "check_sampler",
]

"""What every test stands on: no network, no user's folders, few threads, and where real media are."""

import gc
import os
import socket
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SCRATCH = Path(os.environ.get("PYTEST_SCRATCH", REPOSITORY / ".cache" / "tests"))
os.environ.setdefault("VLFRAME_CACHE", str(SCRATCH / "vlframe"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
for key in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
    os.environ[key] = str(SCRATCH / "wandb")
sys.path.insert(0, str(Path(__file__).parent))  # tests/helpers/
# A worker keeps the million objects of torch and transformers to its end. As often as Python looks through all of them
# by default, that takes an eighth of the time of the tests.
gc.set_threshold(50_000, 20, 100)


LONG = ("training", "runs", "distributed", "real_input", "experiments", "testing", "studies", "reports", "model")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` run where there is one, tests marked ``slow`` where they are asked for (``-m slow``). Files
    with few long tests come first, so that the many short ones fill up what is left at the end."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)
    if items and "slow" not in items[0].config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; make slow runs it"))
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _has_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """A report with a text that is no Unicode (a file name, say) would end the worker that sends it."""
    return _unicode_only((yield))


def _unicode_only(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_unicode_only(key): _unicode_only(item) for key, item in value.items()}
    return type(value)(map(_unicode_only, value)) if isinstance(value, list | tuple) else value


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting anywhere but to this machine fails, so that nothing is fetched unasked."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        local = self.family == socket.AF_UNIX or (isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1"))
        if not local:
            raise OSError(f"a test tried to connect to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def media_folder() -> Path:
    """Real clips with questions; not ours to ship."""
    folder = Path(os.environ.get("VLFRAME_TEST_MEDIA", REPOSITORY.parent / "shared" / "media"))
    if not (folder / "mllm_video_demo.json").is_file():
        pytest.skip(f"no real clips in {folder}; set VLFRAME_TEST_MEDIA to a folder that has them")
    return folder


@pytest.fixture(scope="session")
def registry():
    """What is installed, and the presets of ``tests/conf``."""
    from helpers.twins import open_with_twins

    return open_with_twins()

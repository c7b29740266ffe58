"""The soak in short: three kills, and every run ends as the undisturbed one does."""

from importlib import import_module
from pathlib import Path

import pytest

STUDY = Path(__file__).resolve().parents[2] / "experiments" / "reliability"


@pytest.mark.slow
def test_killed_and_resumed_ends_where_an_undisturbed_run_does(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(STUDY))
    soak = import_module("soak")
    result = soak.soak(3, 2, tmp_path, cold_every=0)
    assert result["kills"] >= 3 and result["runs"] >= 1 and sum(result["where"].values()) == result["kills"]
    assert result["equal"], result["different"]
    assert all(count > 0 for count in result["compared"].values()) and not result["litter"] and not result["torn"]
    one, two = (
        soak.run_folder(soak.Soak(tmp_path, [], soak.random.Random()), name) for name in ("undisturbed", "run0")
    )
    two.metrics_csv.write_text(two.metrics_csv.read_text().replace("\n3,", "\n30,"))
    two.predictions.write_bytes(two.predictions.read_bytes() + b" ")
    different = soak.compared(one, two)["different"]
    assert different["metrics, by step"] and different["predictions"] and not different["parameters and buffers"]
    page = tmp_path / "README.md"
    page.write_text(f"before\n{soak.MARKS[0]}\nwhat stood there\n{soak.MARKS[1]}\nafter\n")
    soak.write_between(page, soak.report({"asked": 3, **result}), soak.MARKS)
    assert "kills" in page.read_text() and "what stood there" not in page.read_text()
    assert page.read_text().startswith("before\n") and page.read_text().endswith("\nafter\n")

"""A study's saved view and report on Weights & Biases: what is in them, and what W&B's own library makes of it."""

import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.studies import pretended, study_file

import vlframe.training.run as training_run
from vlframe.cli import main
from vlframe.reports.wandb_saved import report, save_views, workspace
from vlframe.studies.ledger import entries
from vlframe.studies.study import read_study
from vlframe.studies.wandb_push import Target

wandb = pytest.importorskip("wandb")
pytest.importorskip("wandb_workspaces")

RECORDED = Path(__file__).parent / "recorded"
KINDS = ("workspace", "report")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to be in, in which nobody is logged in."""
    folder = tmp_path_factory.mktemp("views")
    wandb.teardown()  # what it was set up with by an earlier test
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("DATA_DIR", "CONFIG_DIR"):
            patch.setenv(f"WANDB_{name}", str(folder / "settings"))
        for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_API_KEY"):
            patch.delenv(name, raising=False)
        yield folder
        wandb.teardown()


@pytest.fixture(scope="module")
def study(here: Path) -> Path:
    """Two cells with two seeds that are done, and another study of which nothing is."""
    file = study_file(here, seeds=[0, 1], name="connectors", margin=0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "train", pretended(lambda config, call: call / 8))
        assert main(["study", "run", str(file)]) == 0
    for entry in entries(read_study(file).folder):
        (entry.run / "metrics.csv").write_text("step,train/loss\n1,2.5\n2,0.5\n")
    (here / "new.yaml").write_text(file.read_text().replace("name: connectors", "name: another"))
    return file


@pytest.fixture(scope="module")
def said(study: Path) -> str:
    """What the command says offline."""
    with redirect_stdout(StringIO()) as out:
        assert main(["wandb", "push", str(study), "--workspace", "--report", "mode=offline"]) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def specs(study: Path, said: str) -> dict[str, dict[str, Any]]:
    """What it writes offline."""
    folder = read_study(study).folder / "wandb"
    return {kind: json.loads((folder / f"{kind}.json").read_text()) for kind in KINDS}


def files_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_them_is_as_it_was_recorded(kind: str, specs: dict[str, dict[str, Any]]) -> None:
    assert specs[kind] == json.loads((RECORDED / f"wandb_{kind}.json").read_text())


def test_offline_it_is_said_that_saving_needs_a_login(study: Path, said: str) -> None:
    assert said.startswith("workspace and report: saving needs W&B online and a login") and "4 run(s) pushed" in said
    assert {file.name for file in (read_study(study).folder / "wandb").iterdir()} == {"workspace.json", "report.json"}


@pytest.mark.parametrize("flag", ["--workspace", "--report"])
def test_online_without_a_login_nothing_is_done(
    flag: str, study: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_in(here)
    assert main(["wandb", "push", str(study), flag]) == 2
    errors = capsys.readouterr().err
    assert "nobody is logged in to Weights & Biases on this machine" in errors and errors.count("\n") == 1
    assert files_in(here) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs/studies/connectors", "--report"], "--report is of one study: give its file"),
        (["study.yaml", "study.yaml", "--workspace"], "--workspace is of one study: give its file"),
        (["new.yaml", "--workspace"], "no run of new.yaml is done, so a view of it shows nothing; vlframe study run"),
        (["study.yaml", "--view"], "has no option --view; it has project, entity, mode, --workspace, --report"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], said: str, study: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_in(here)
    assert main(["wandb", "push", *words, "mode=offline"]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.count("\n") == 1 and files_in(here) == before


def test_without_the_library_it_is_said_which(
    study: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_in(here)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main(["wandb", "push", str(study), "--report", "mode=offline"]) == 2
    assert "need wandb-workspaces: pip install 'vlframe[wandb]'" in capsys.readouterr().err
    assert files_in(here) == before


def test_wandbs_library_makes_a_view_with_these_panels(specs: dict[str, dict[str, Any]]) -> None:
    view = workspace(specs["workspace"], "me", "mine", {"id": "view1", "name": "nw-x-v"})._to_model()
    assert (view.entity, view.project, view.id, view.name) == ("me", "mine", "view1", "nw-x-v")
    spec = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))["section"]
    (runs,) = spec["runSets"]
    assert '"name":"group"' in json.dumps(runs["filters"], separators=(",", ":")) and "connectors" in json.dumps(
        runs["filters"]
    )
    assert [key["name"] for key in runs["grouping"]] == ["jobType"]
    assert runs["runFeed"]["columnOrder"] == [
        "run:displayName", "config:axes.value.connector", "config:tokens_per_clip.value", "summary:eval/accuracy",
    ]  # fmt: skip
    sections = {section["name"]: section["panels"] for section in spec["panelBankConfig"]["sections"]}
    assert list(sections) == ["Scores", "Cost", "Curves", "Predictions"]
    kinds = {name: [panel["viewType"] for panel in panels] for name, panels in sections.items()}
    assert kinds["Scores"] == ["Bar Chart", "Scatter Plot", "Parallel Coordinates Plot"]
    assert kinds["Cost"][-1] == "Run Comparer" and kinds["Curves"] == ["Run History Line Plot"] * 2
    columns = [column["accessor"] for column in sections["Scores"][2]["config"]["columns"]]
    assert columns == ["config:axes.value.connector", "config:tokens_per_clip.value", "summary:eval/accuracy"]
    assert sections["Curves"][0]["config"]["metrics"] == ["train/loss"]
    assert "predictions" in json.dumps(sections["Predictions"])


class Service:
    """In place of W&B's: keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def view(self, view: Any) -> dict[str, Any]:
        return self.take({"id": view.id or None, "name": view.name, "spec": view.spec.model_dump_json(by_alias=True)})

    def graphql(self, api: Any, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "internalId" in query:
            return {"project": {"internalId": "UHJvamVjdA=="}}
        spec = variables["spec"]
        return self.take({**variables, "project": {"name": "mine", "entityName": "me"}, "spec": json.loads(spec)})

    def take(self, view: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(view)
        return {"upsertView": {"view": {**view, "id": view.get("id") or f"id{len(self.sent)}"}}}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    client = SimpleNamespace(app_url="https://wandb.example")
    api = SimpleNamespace(default_entity="me", client=client, projects=lambda entity: [SimpleNamespace(name="mine")])
    monkeypatch.setattr(wandb, "Api", lambda: api)
    monkeypatch.setattr("wandb_workspaces.workspaces.internal.upsert_view2", made.view)
    monkeypatch.setattr("wandb_workspaces.reports.v2.interface.execute_graphql", made.graphql)
    for module in ("workspaces", "reports.v2"):
        monkeypatch.setattr(f"wandb_workspaces.{module}.interface.get_app_url", lambda api: "https://wandb.example")
    return made


def test_each_is_saved_once_and_again_in_its_place(
    specs: dict[str, dict[str, Any]], service: Service, tmp_path: Path
) -> None:
    where = Target("mine", None, offline=False)
    notes, problems = save_views(tmp_path, list(specs.values()), where)
    assert not problems and len(service.sent) == 2 and all("https://wandb.example/me/mine" in note for note in notes)
    notes, problems = save_views(tmp_path, list(specs.values()), where)
    assert not problems and len(service.sent) == 2 and all(note.endswith("(unchanged)") for note in notes)
    changed = [{**specs["workspace"], "name": "other"}, {**specs["report"], "title": "other"}]
    assert save_views(tmp_path, changed, where)[1] == [] and len(service.sent) == 4
    assert [view["id"] for view in service.sent[2:]] == ["id1", "id2"] and service.sent[2]["name"] == service.sent[0][
        "name"
    ]
    (tmp_path / "wandb" / "saved.json").write_text("{")
    assert save_views(tmp_path, changed[:1], where)[1] == [] and service.sent[4]["id"] is None


def test_what_the_service_refuses_is_said_and_the_other_is_saved(
    specs: dict[str, dict[str, Any]], service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(view: Any) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr("wandb_workspaces.workspaces.internal.upsert_view2", refuse)
    notes, problems = save_views(tmp_path, list(specs.values()), Target("mine", "me", offline=False))
    assert len(notes) == 1 and "report.json -> https" in notes[0]
    assert problems == [
        f"{tmp_path / 'wandb' / 'workspace.json'} could not be saved on W&B: ConnectionError: no answer"
    ]


def test_a_report_has_the_studys_text_and_its_panels(specs: dict[str, dict[str, Any]], service: Service) -> None:
    sent = report(specs["report"], "me", "mine", {})._to_model()
    spec = json.loads(sent.spec.model_dump_json(by_alias=True, exclude_none=True))
    texts = [block["content"] for block in spec["blocks"] if block["type"] == "markdown-block"]
    assert any("| pool " in text and "undecided" in text for text in texts)
    grids = [block for block in spec["blocks"] if block["type"] == "panel-grid"]
    assert len(grids) == 4
    places = [tuple(panel["layout"][key] for key in "xy") for panel in
              grids[0]["metadata"]["panelBankSectionConfig"]["panels"]]  # fmt: skip
    assert places == [(0, 0), (8, 0), (16, 0)], "side by side"

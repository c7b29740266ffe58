"""Choice by likelihood, against a plain reading of the model's logits, one answer at a time."""

import json
from pathlib import Path

import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.compositions import TINY

from vlframe.composer.compose import compose
from vlframe.data.collate import Collate
from vlframe.errors import ConfigError
from vlframe.evaluation.evaluate import ask
from vlframe.evaluation.likelihood import Candidate, answered, chosen
from vlframe.evaluation.questions import Questions, open_benchmarks
from vlframe.inference.pipeline import build_pipeline
from vlframe.model.video_llm import place
from vlframe.runs.quarantine import QuarantineLog

OPTIONS = (["red", "red car"], ["left", "right", "up"], ["a", "b", "c", "d"])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three questions about one clip, one about another, and one at the end of a conversation without a clip."""
    folder = tmp_path_factory.mktemp("choices")
    for name in ("one.mp4", "two.mp4"):
        write_clip(folder, ClipSpec(name))
    rows = [
        {
            "id": f"q{number}",
            "video": "two.mp4" if number == 3 else "one.mp4",
            "options": options,
            "answer": options[-1],
            "conversations": [{"from": "human", "value": f"<video>\nwhich, case {number}?"}],
        }
        for number, options in enumerate((*OPTIONS, OPTIONS[0]))
    ]
    turns = ["hello", "hi there", "and now?"]
    talk = [{"from": ("human", "gpt")[at % 2], "value": text} for at, text in enumerate(turns)]
    rows.append({"id": "talk", "options": ["yes", "no"], "answer": "no", "conversations": talk})
    path = folder / "choices.json"
    path.write_text(json.dumps(rows))
    return path


def opened(registry, file: Path, *more: str) -> Questions:
    words = ["benchmark=exact_match_file", f"benchmark.dataset.path={file}", "benchmark.choice=likelihood", *more]
    pipeline = build_pipeline(compose("train", [*TINY, *words], registry), registry)
    pipeline.model.eval()
    (questions,) = open_benchmarks(pipeline)
    return questions


@torch.no_grad()
def plainly(questions: Questions) -> dict[tuple[str, str], float]:
    """The log-likelihood of each answer: one conversation at a time, every logit, the answer found by taking the prompt
    off the front."""
    pipeline, model = questions.pipeline, questions.pipeline.model
    result = {}
    for question in questions.all:
        prompt = pipeline.prepared([question.asked], answers=False)[0]
        for text, sample in zip(question.candidates, answered([question]), strict=True):
            row = pipeline.prepared([sample], answers=True, training=False)[0]
            batch = Collate()([row])
            media_NE = model.connect(model.encode(batch.files), batch.uses)
            embeds_BSE = place(model.llm.embed(batch.ids_BS), media_NE, batch.slots_N)
            logits_SV = model.llm.logits(model.llm(embeds_BSE, batch.layout))[0]
            first = len(prompt.ids)
            assert row.ids[:first] == prompt.ids
            answer = [at for at in range(first, len(row.ids)) if row.supervised[at]]
            spoken = model.llm.tokenizer.decode([row.ids[at] for at in answer], skip_special_tokens=True)
            assert spoken.strip() == text
            result[question.sample.id, text] = sum(
                torch.log_softmax(logits_SV[at - 1].double(), -1)[row.ids[at]].item() for at in answer
            )
    return result


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_likelihoods_are_those_of_a_plain_reading(registry, file: Path, batch_size: int) -> None:
    questions = opened(registry, file)
    encoded: list[int] = []
    hook = questions.pipeline.model.parts["encoder"].register_forward_hook(
        lambda _, inputs, __: encoded.append(len(inputs[0]))
    )
    outcome = ask(questions, QuarantineLog(), batch_size=batch_size)
    hook.remove()
    assert sum(encoded) == 2, "each clip is encoded once, whatever is asked of it"
    expected = plainly(questions)
    assert len(outcome.predictions) == 5
    for item in outcome.predictions:
        for candidate in item.candidates:
            assert candidate.log_likelihood == pytest.approx(expected[item.sample.id, candidate.text], abs=1e-4)
        best = max(item.candidates, key=lambda candidate: expected[item.sample.id, candidate.text])
        assert item.text == item.parsed == best.text
        assert item.scores["accuracy"] is (best.text == item.sample.answer)


def test_the_blind_run_sees_nothing_and_hears_the_same_questions(registry, file: Path) -> None:
    questions = opened(registry, file)
    ran: list[bool] = []
    questions.pipeline.model.parts["encoder"].register_forward_hook(lambda *_: ran.append(True))
    blind = ask(questions, QuarantineLog(), batch_size=8, withhold=["video", "image", "audio"])
    assert not ran and len(blind.predictions) == 5 and all(item.parsed is not None for item in blind.predictions)
    seen = {item.sample.id: item.candidates for item in ask(questions, QuarantineLog(), batch_size=8).predictions}
    for item in blind.predictions:
        assert (item.candidates == seen[item.sample.id]) is (item.sample.id == "talk")


def test_lengths_are_taken_out_by_name() -> None:
    short, long = Candidate("no", -4.0, 2), Candidate("yes, certainly", -6.0, 4)
    assert chosen([short, long], "likelihood") is short
    assert chosen([short, long], "likelihood_per_token") is long
    assert chosen([short, long], "likelihood_per_character") is long
    assert chosen([long, Candidate("twin", -6.0, 4)], "likelihood") is long
    assert Candidate("", -1.0, 1).weight("likelihood_per_character") == -1.0


def test_letters_are_compared_where_the_options_are_listed_by_letter(registry, file: Path) -> None:
    questions = opened(registry, file, "benchmark=multiple_choice_file")
    assert [question.candidates for question in questions.all][:2] == [("A", "B"), ("A", "B")]
    outcome = ask(questions, QuarantineLog(), batch_size=8)
    assert all(item.parsed == item.text for item in outcome.predictions)
    as_is = opened(registry, file, "benchmark=multiple_choice_file", "benchmark.prompt=question")
    assert as_is.all[0].candidates == ("yes", "no")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["text.thinking=true"], "lets the model think before it answers; say text.thinking=false"),
        (["text.too_long=trim_text"], "may cut the answers that are compared; say text.too_long=drop"),
        (["benchmark.choice=likely"], "choice is 'likely'; it can be generate, likelihood, likelihood_per_token"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(registry, file: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        opened(registry, file, *words)


def test_a_question_without_options_is_refused_by_name(registry, tmp_path: Path) -> None:
    row = {"id": "open", "answer": "red", "conversations": [{"from": "human", "value": "which colour?"}]}
    (tmp_path / "open.json").write_text(json.dumps([row]))
    with pytest.raises(ConfigError, match="'exact_match' is asked with choice=likelihood, and question 'open' has 0"):
        opened(registry, tmp_path / "open.json")


def test_a_clip_that_is_left_out_takes_its_question_along(registry, file: Path, tmp_path: Path) -> None:
    rows = json.loads(file.read_text())
    (tmp_path / "one.mp4").write_bytes((file.parent / "one.mp4").read_bytes())
    (tmp_path / "two.mp4").write_bytes(b"no clip")
    (tmp_path / "choices.json").write_text(json.dumps(rows))
    quarantine = QuarantineLog()
    outcome = ask(opened(registry, tmp_path / "choices.json", "media.on_error=skip"), quarantine, batch_size=8)
    assert [item.sample.id for item in outcome.predictions] == ["talk", "q0", "q1", "q2"]
    assert quarantine.counts == {"media": 1} and sum(outcome.asked.values()) == 5

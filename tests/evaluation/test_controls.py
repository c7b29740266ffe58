"""Controls: what is asked with frames in another order, without sound, with options in other places, is what it says;
and the media are decoded, and frames encoded, once."""

import json
from collections import Counter
from pathlib import Path

import pytest
from helpers.clips import ClipSpec, picture, write_clip
from helpers.compositions import SOUND, TINY
from PIL import Image

from vlframe.composer.compose import compose
from vlframe.config.controls import CONTROLS
from vlframe.errors import ConfigError
from vlframe.evaluation.controls import Control, control_words, order_of, paired_control
from vlframe.evaluation.crossed import over_items
from vlframe.evaluation.evaluate import Outcome, Prediction, ask, beside
from vlframe.evaluation.questions import Questions, open_benchmarks
from vlframe.evaluation.scores import Scores
from vlframe.evaluation.tally import scores_of
from vlframe.inference.pipeline import build_pipeline
from vlframe.runs.quarantine import QuarantineLog

FRAMES = 4
TO_BE_SHOWN = {
    "plain": range(FRAMES), "reversed": order_of("reversed", FRAMES), "shuffled": order_of("shuffled", FRAMES),
    "one_frame": order_of("one_frame", FRAMES),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips as folders of pictures: one in its own order, and the same in every other."""
    path = tmp_path_factory.mktemp("orders")
    for name, order in TO_BE_SHOWN.items():
        (path / name).mkdir()
        for at, frame in enumerate(order):
            Image.fromarray(picture(9 * frame, 48, 64)).save(path / name / f"{at}.png")
    write_clip(path, ClipSpec("sounding.mp4", sound="aac"))
    return path


def row(name: str, video: str, tag: str = "<video>", **more: object) -> dict[str, object]:
    turns = [{"from": "human", "value": f"{tag}\nwhich, {name}?"}]
    return {
        "id": name,
        "video": video,
        "options": ["left", "right", "up"],
        "answer": "up",
        "conversations": turns,
        **more,
    }


def opened(registry, folder: Path, rows: list[dict], *more: str) -> Questions:
    file = folder / f"{len(list(folder.glob('*.json')))}.json"
    file.write_text(json.dumps(rows))
    words = [f"benchmark.dataset.path={file}", "benchmark.choice=likelihood", *more]
    if not any(word.startswith("benchmark=") for word in more):
        words.insert(0, "benchmark=exact_match_file")
    pipeline = build_pipeline(compose("train", [*TINY, *words], registry), registry)
    pipeline.model.eval()
    (questions,) = open_benchmarks(pipeline)
    return questions


def likelihoods(item: Prediction) -> list[float]:
    return [candidate.log_likelihood for candidate in item.candidates]


def encoded_frames(questions: Questions) -> list[int]:
    frames: list[int] = []
    questions.pipeline.model.parts["encoder"].register_forward_hook(
        lambda _, inputs, __: frames.append(inputs[0].shape[0] * inputs[0].shape[1])
    )
    return frames


@pytest.mark.parametrize("encoder", ["vit_tiny", "vit_joint_tiny"])
def test_frames_in_another_order_are_a_clip_of_that_order(registry, folder: Path, encoder: str) -> None:
    """Where frames are encoded one by one, they are encoded once for all orders."""
    words = [f"encoder={encoder}", "encoder.dim=32", "encoder.heads=2"]
    questions = opened(registry, folder, [row("q", "plain"), row("again", "plain")], *words)
    frames, controls = encoded_frames(questions), ["one_frame", "shuffled", "reversed"]
    outcome = ask(questions, QuarantineLog(), batch_size=8, controls=controls)
    per_frame = questions.pipeline.model.parts["encoder"].per_frame
    assert per_frame is (encoder == "vit_tiny") and sum(frames) == FRAMES * (1 if per_frame else 4)
    first, _ = outcome.predictions
    assert list(first.controls) == controls
    for control in controls:
        really = opened(registry, folder, [row("q", control)], *words)
        really = Questions(
            really.name, really.benchmark, really.judge, really.asking, questions.pipeline, really.prefix
        )
        (wanted,) = ask(really, QuarantineLog(), batch_size=8).predictions
        assert likelihoods(first.controls[control]) == pytest.approx(likelihoods(wanted), abs=2e-4)
        assert likelihoods(first.controls[control]) != pytest.approx(likelihoods(first), abs=2e-4)


def test_the_plain_answers_are_the_same_with_and_without_controls(registry, folder: Path) -> None:
    questions = opened(registry, folder, [row("a", "plain"), row("b", "sounding.mp4", "<video><audio>")], *SOUND)
    plain = ask(questions, QuarantineLog(), batch_size=8).predictions
    asked = ask(questions, QuarantineLog(), batch_size=8, controls=CONTROLS).predictions
    for with_controls, without in zip(asked, plain, strict=True):
        assert likelihoods(with_controls) == pytest.approx(likelihoods(without)) and with_controls.text == without.text
    assert [list(item.controls) for item in asked] == [
        ["one_frame", "shuffled", "reversed"], ["one_frame", "shuffled", "reversed", "no_sound"]]  # fmt: skip


def test_without_sound_is_the_deaf_run_and_decodes_nothing_anew(registry, folder: Path) -> None:
    questions = opened(registry, folder, [row("b", "sounding.mp4", "<video><audio>")], *SOUND)
    (deaf,) = ask(questions, QuarantineLog(), batch_size=8, withhold=["audio"]).predictions
    frames = encoded_frames(questions)
    (item,) = ask(questions, QuarantineLog(), batch_size=8, controls=["no_sound"]).predictions
    assert likelihoods(item.controls["no_sound"]) == pytest.approx(likelihoods(deaf), abs=1e-4)
    assert likelihoods(item) != pytest.approx(likelihoods(deaf), abs=1e-4) and sum(frames) == FRAMES


def test_rotated_options_are_judged_by_their_new_places(registry, folder: Path) -> None:
    rows = [row("a", "plain"), row("b", "plain", options=["red", "blue"], answer="A")]
    questions = opened(registry, folder, rows, "benchmark=multiple_choice_file")
    turned = questions.rotated
    assert [(item.sample.options, item.sample.answer) for item in turned.values()] == [
        (("up", "left", "right"), "A"), (("blue", "red"), "B")]  # fmt: skip
    assert "(A) up\n(B) left\n(C) right" in turned["a"].asked.turns[-1].text
    outcome = ask(questions, QuarantineLog(), batch_size=8, controls=["rotated_options"])
    for item in outcome.predictions:
        other = item.controls["rotated_options"]
        assert other.sample.options == turned[item.sample.id].sample.options
        assert other.scores["accuracy"] is (other.parsed == turned[item.sample.id].sample.answer)
        line = item.row()
        assert line["controls"]["rotated_options"]["asked"] != line["asked"]
        assert line["controls"]["rotated_options"]["asked"][-1]["text"] == turned[item.sample.id].asked.turns[-1].text
    stands = opened(registry, folder, rows, "benchmark=multiple_choice_file", "benchmark.prompt=question")
    assert stands.rotated == {}
    assert not any(item.controls for item in ask(
        stands, QuarantineLog(), batch_size=8, controls=["rotated_options"]).predictions)  # fmt: skip


def test_answers_without_media_stand_beside_the_others_and_all_is_written(registry, folder: Path) -> None:
    talk = {"id": "talk", "options": ["yes", "no"], "answer": "no",
            "conversations": [{"from": "human", "value": "well?"}]}  # fmt: skip
    questions = opened(registry, folder, [row("a", "plain"), row("c", "one_frame"), talk])
    seeing = ask(questions, QuarantineLog(), batch_size=8, controls=["shuffled"])
    blind = ask(questions, QuarantineLog(), batch_size=8, withhold=["video"])
    both = beside(seeing, blind)
    assert {item.sample.id: list(item.controls) for item in both.predictions} == {
        "a": ["blind", "shuffled"], "c": ["blind", "shuffled"], "talk": []}  # fmt: skip
    line = next(item for item in both.predictions if item.sample.id == "a").row()
    assert set(line["controls"]["blind"]) == {"text", "parsed", "scores"}
    scores = scores_of(both, blind, {})
    assert scores.controls["blind"].n == scores.controls["shuffled"].n == 2
    assert Scores.from_tree(json.loads(json.dumps(scores.tree()))).controls.keys() == scores.controls.keys()
    assert {"control_shuffled", "control_shuffled_difference", "control_shuffled_n"} <= scores.flat().keys()
    assert isinstance(both, Outcome) and Counter(both.asked) == Counter(seeing.asked)


def test_a_shuffled_order_has_half_of_its_pairs_turned_round() -> None:
    for frames in range(2, 65):
        order = order_of("shuffled", frames)
        assert sorted(order) == list(range(frames)) and all(at != frame for at, frame in enumerate(order))
        turned = sum(a > b for at, a in enumerate(order) for b in order[at + 1 :])
        assert frames < 4 or abs(turned / (frames * (frames - 1) / 2) - 0.5) < 0.18, (frames, turned)
    assert order_of("reversed", 4) == (3, 2, 1, 0) and order_of("one_frame", 4) == (2, 2, 2, 2)


def test_words_say_whether_something_is_used() -> None:
    pairs = [(1.0, float(number % 2), f"clip{number}") for number in range(60)]
    control = paired_control(pairs, shares=True)
    wanted = over_items([[1.0] * 60], [[pair[1] for pair in pairs]], [pair[2] for pair in pairs])
    assert (control.low, control.high, control.p) == (wanted.low, wanted.high, wanted.p)
    assert control.difference == pytest.approx(-0.5) and control.changes
    assert control_words("shuffled", control).startswith(
        "the score falls by 50.0 points when the frames are shuffled (95 %"
    )
    assert control_words("shuffled", control).endswith("it uses the order of the frames")
    same = paired_control([(1.0, 1.0, f"clip{number}") for number in range(60)], shares=True)
    assert "does not change significantly without sound (difference +0.0 points, 95 % −" in control_words(
        "no_sound", same
    )
    assert control_words("no_sound", same).endswith("no evidence that it uses sound")
    one = Control(1, 1.0, 0.0, *[float("nan")] * 3)
    assert one.changes is None and "too little to say more" in control_words("blind", one)


def test_an_unknown_control_is_named(registry) -> None:
    with pytest.raises(ConfigError, match=r"controls.* is 'upside_down'; it can be one_frame, shuffled"):
        compose("train", [*TINY, "evaluation.controls=[upside_down]"], registry)

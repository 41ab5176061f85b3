"""Tuning: an equal budget on the validation split, one more weight where the best is at an end, and exact resume."""

import json
import subprocess

import pytest
from safetensors.torch import load_file
from test_train import DETECTOR, TRAINING, command, tiny, write_slice  # noqa: F401  `tiny` is a fixture

from detdistill import tune as tuning
from detdistill.check import check
from detdistill.core import paths, record
from detdistill.core.errors import DivergedError, UserError
from detdistill.dataset.manifest import load
from detdistill.train import step as train
from detdistill.train.assemble import assemble
from detdistill.train.checkpoint import Scratch
from detdistill.train.tuned import scales

BUDGET = {"seed": 100, "share": 0.3, "factors": [0.5, 2.0], "schedule_factor": 0.5}


@pytest.fixture
def tuned(tiny):  # noqa: F811
    write_slice("tuning", value=BUDGET)
    train.train_teacher("tiny", "small")
    return tiny


def found(recipe="pkd"):
    return json.loads(paths.tuning("tiny", "small", recipe, "tuning.json").read_text())


def scripted(monkeypatch, **reached):
    """Trainings that end at these AP50 by factor, so that a test decides which one is best."""
    tried = []

    def attempt(run, lesson, data, units, factor):
        tried.append(factor)
        return {"factor": factor, "AP": 0.1, "AP50": reached[f"x{factor:g}".replace(".", "_")], "gradient_share": 0.3}

    monkeypatch.setattr(tuning, "_try", attempt)
    return tried


def test_each_factor_is_tried_and_the_unit_gives_the_share_of_the_gradient(tuned):
    tuning.tune("tiny", "small", "chen")
    result = found("chen")
    assert set(BUDGET["factors"]) <= {tried["factor"] for tried in result["grid"]}
    assert result["split"] == "val"
    assert result["units"]["chen"] > 0
    assert result["factor"] in {tried["factor"] for tried in result["grid"]}
    # After so few steps a gradient has hardly changed, so its share is near what was asked for, times the factor.
    for tried in result["grid"]:
        assert 0.03 < tried["gradient_share"] / (0.3 * tried["factor"]) < 30


def test_at_its_unit_a_method_has_just_the_share_of_the_native_gradient(tuned, monkeypatch):
    monkeypatch.setattr(tuning, "WARM_UP_STEPS", 0)
    run, data = train.student_run("tiny", "small", "chen", BUDGET["seed"]), load("tiny")
    scaled = tuning._scaled(run, run.lesson, scales(tuning._units(run, run.lesson, data, 0.3), 1.0))
    norms = tuning._gradient_norms(scaled, assemble(scaled, data), data, first=0)
    assert norms["chen"] / norms[""] == pytest.approx(0.3, rel=1e-3)


def test_a_plain_student_has_nothing_to_tune(tuned):
    with pytest.raises(UserError, match="'plain' of 'small' has no methods that could be tuned"):
        tuning.tune("tiny", "small", "plain")


@pytest.mark.parametrize(
    ("reached", "factors", "best"),
    [
        ({"x0_5": 0.2, "x2": 0.1, "x0_125": 0.1}, [0.5, 2.0, 0.125], 0.5),
        ({"x0_5": 0.1, "x2": 0.2, "x8": 0.3}, [0.5, 2.0, 8.0], 8.0),
    ],
)
def test_one_more_factor_beyond_the_end_that_is_best_and_no_further(tuned, monkeypatch, reached, factors, best):
    tried = scripted(monkeypatch, **reached)
    tuning.tune("tiny", "small", "pkd")
    assert tried == factors
    assert found()["factor"] == best


def test_a_factor_that_diverges_does_not_win(tuned, monkeypatch):
    fit, limit = tuning._fit, float("inf")

    def diverges(run, assembled, manifest, validate_on):
        if validate_on > 1 and assembled.distillation.scales["pkd"] > limit:
            raise DivergedError("a loss is not finite")
        return fit(run, assembled, manifest, validate_on)

    tuning.tune("tiny", "small", "pkd")
    limit = 1.5 * found()["units"]["pkd"]  # between the two factors
    monkeypatch.setattr(tuning, "_fit", diverges)
    tuning.tune("tiny", "small", "pkd")
    grid = {tried["factor"]: tried for tried in found()["grid"]}
    assert grid[2.0] == {"factor": 2.0, "AP": None, "AP50": None, "gradient_share": None}
    assert grid[0.5]["AP50"] is not None
    assert found()["factor"] != 2.0
    limit = 0.0
    with pytest.raises(UserError, match="every factor of 'pkd' diverges"):
        tuning.tune("tiny", "small", "pkd")


def test_a_recipe_is_tuned_and_trained_in_half_precision(tuned):
    write_slice("small", "student", value={"detector": DETECTOR, "training": {**TRAINING, "precision": "bf16"}})
    for verb in (("tune", "small", "pkd"), ("distill", "small", "pkd", "0")):
        done = subprocess.run(command(*verb), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_records_name_the_engine_the_methods_and_the_tuning(tuned):
    for verb in (("tune", "small", "pkd"), ("distill", "small", "pkd", "0")):
        subprocess.run(command(*verb), capture_output=True, check=True)
    records = paths.tuning("tiny", "small", "pkd", "timing.json"), paths.run("tiny", "small", "pkd", 0, "timing.json")
    for file in records:
        code = json.loads(file.read_text())["code"]
        assert {"detdistill.engines.torchvision.faster_rcnn", "detdistill.distill.cnn.neck.pkd"} <= set(code)
    used = json.loads(records[1].read_text())["used"]
    assert str(paths.tuning("tiny", "small", "pkd", "tuning.json")) in used


def test_a_best_factor_inside_ends_the_grid(tuned, monkeypatch):
    write_slice("tuning", value={**BUDGET, "factors": [0.5, 2.0, 8.0]})
    tried = scripted(monkeypatch, x0_5=0.1, x2=0.3, x8=0.2)
    tuning.tune("tiny", "small", "pkd")
    assert tried == [0.5, 2.0, 8.0]
    assert found()["factor"] == 2.0


def test_of_equal_factors_the_smaller_wins(tuned, monkeypatch):
    write_slice("tuning", value={**BUDGET, "factors": [0.5, 2.0, 8.0]})
    scripted(monkeypatch, x0_5=0.1, x2=0.3, x8=0.3)
    tuning.tune("tiny", "small", "pkd")
    assert found()["factor"] == 2.0


def test_a_killed_tuning_goes_on_to_the_same_bytes(tuned, monkeypatch):
    tuning.tune("tiny", "small", "pkd")
    straight = paths.tuning("tiny", "small", "pkd", "tuning.json").read_bytes()
    fit, calls = tuning.fit, []

    def interrupted(*arguments):
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(tuning, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tuning.tune("tiny", "small", "pkd")
    load = Scratch.load

    def dear(self):  # as if the part before the kill had taken long
        state = load(self)
        spent = {"wall_seconds": 1000.0, "core_seconds": 1000.0, "peak_memory_bytes": 0}
        return state | {"spent": spent} if state and "grid" in state else state

    monkeypatch.setattr(Scratch, "load", dear)
    tuning.tune("tiny", "small", "pkd")
    assert paths.tuning("tiny", "small", "pkd", "tuning.json").read_bytes() == straight
    assert record.read(paths.tuning("tiny", "small", "pkd", "timing.json"))["core_seconds"] > 1000


def test_the_tuned_weight_is_what_training_uses(tuned):
    def model():
        train.train_student("tiny", "small", "pkd", 0)
        return load_file(paths.run("tiny", "small", "pkd", 0, "model.safetensors"))

    def apart(one, other):
        return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)

    tuning.tune("tiny", "small", "pkd")
    chosen, by_tuning = found(), model()
    paths.params("tiny", "tuning").unlink()
    # PKD's own weight, 6, is in the slice: the scale multiplies it.
    untuned = model()
    weight = 6.0 * chosen["factor"] * chosen["units"]["pkd"]
    write_slice("small", "pkd", value={"methods": {"pkd": {"weight": weight}}})
    assert apart(by_tuning, model()) < 1e-4
    assert apart(by_tuning, untuned) > 1e-3


def test_methods_that_changed_after_tuning_are_told(tuned):
    tuning.tune("tiny", "small", "pkd")
    write_slice("small", "pkd", value={"methods": {"cwd": {"weight": 1.0}}})
    with pytest.raises(UserError, match=r"tuning\.json: units: of pkd, the recipe has cwd"):
        train.train_student("tiny", "small", "pkd", 0)


def test_training_before_its_tuning_is_told(tuned):
    with pytest.raises(UserError, match=r"runs/tiny/small/pkd/tuning/tuning\.json: no such file"):
        train.train_student("tiny", "small", "pkd", 0)


def test_a_method_without_gradient_on_the_student_is_named(tuned, monkeypatch):
    monkeypatch.setattr(tuning, "_norm", lambda loss, parameters: 0.0)
    with pytest.raises(UserError, match=r"methods\.pkd: its gradient on the student is 0"):
        tuning.tune("tiny", "small", "pkd")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"factors": [0.0, 1.0]}, r"tuning\.yaml: factors\.0: .*greater than or equal to 0\.000001, found 0\.0"),
        ({"factors": [1.0]}, r"tuning\.yaml: factors: .*at least 2"),
        ({"seed": 0}, r"tuning\.yaml: seed: 0 is held out, study\.yaml has it in seeds"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused_before_any_work(tiny, change, said):  # noqa: F811
    write_slice("tuning", value=BUDGET | change)
    with pytest.raises(UserError, match=said):
        check("tiny")


def test_a_study_that_does_not_tune_says_so(tiny):  # noqa: F811
    with pytest.raises(UserError, match=r"tuning\.yaml: no such file: this study does not tune"):
        tuning.tune("tiny", "small", "pkd")

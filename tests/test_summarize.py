"""The summary and the cost of a study of made-up numbers: that they agree with the runs, and what of them repeats."""

import json
import shutil

import fake_study
import pytest

from detdistill.analysis.choice import best_recipe
from detdistill.analysis.summarize import summarize
from detdistill.core import paths, record
from detdistill.core.errors import UserError
from detdistill.core.files import read_json

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The root of a summarised study of two pairs."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(root)
        fake_study.make(root, SEEDS, ("faster_rcnn", "retinanet"))
        summarize("fake")
    return root


@pytest.fixture
def study(made, monkeypatch):
    """The same as the project root, for tests that only look."""
    monkeypatch.chdir(made)


@pytest.fixture
def own(made, tmp_path, monkeypatch):
    """A copy as the project root, for tests that change it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def summary():
    return read_json(paths.summary("fake"))


def cost(pair):
    return read_json(paths.summary("fake").with_name("cost.json"))["pairs"][pair]


def of_runs(pair, recipe, file, figure):
    """The mean over seeds of a figure of a run's file."""
    found = [read_json(paths.run("fake", pair, recipe, seed, file)) for seed in SEEDS]
    return sum(figure(each) for each in found) / len(found)


def test_a_gain_is_over_the_plain_student_of_the_same_schedule(study):
    recipes = summary()["pairs"]["faster_rcnn"]["recipes"]
    for recipe, plain in (("mimic", "plain"), ("mimic_2x", "plain_2x")):
        ours, base = (
            of_runs("faster_rcnn", name, "metrics.json", lambda each: each["test"]["AP50"]) for name in (recipe, plain)
        )
        assert recipes[recipe]["plain"] == plain
        assert recipes[recipe]["effect"]["difference"] == pytest.approx(ours - base)
        teacher = summary()["pairs"]["faster_rcnn"]["teacher"]["AP50"]["mean"]
        assert recipes[recipe]["gap_closed"] == pytest.approx((ours - base) / (teacher - base))


def test_a_recipe_like_another_has_its_methods_and_no_tuning_of_its_own(study):
    recipes = summary()["pairs"]["faster_rcnn"]["recipes"]
    assert recipes["mimic_2x"]["methods"] == recipes["mimic"]["methods"] == {"mimic": {"weight": 1.0}}
    assert recipes["mimic"]["tuned"]["share"] == 0.3
    assert recipes["mimic_2x"]["tuned"] is None


def test_families_are_parted_by_schedule(study):
    first, second = summary()["pairs"]["faster_rcnn"]["families"]
    assert (first["plain"], len(first["recipes"]), first["freedom"]) == ("plain", 6, 14)
    assert (second["plain"], second["recipes"], second["freedom"]) == ("plain_2x", ["mimic_2x", "pkd_2x"], 6)


def test_the_gradient_inside_objects_is_told_for_the_first_validation_and_the_last(study):
    recipes = summary()["pairs"]["retinanet"]["recipes"]
    first, last = (recipes["pkd"]["inside"][when] for when in ("first", "last"))
    assert set(first) == set(last) == {"area", "native", "pkd"}
    assert last["native"]["mean"] == pytest.approx(0.6)
    assert 0.4 < first["native"]["mean"] < 0.6
    assert set(recipes["crosskd"]["inside"]["last"]) == {"area", "native"}


def test_nothing_in_the_summary_depends_on_time(own):
    before, spent = paths.summary("fake").read_bytes(), cost("retinanet")
    for timing in [*own.rglob("timing.json"), *own.rglob("latency.json")]:
        content = record.read(timing)
        for figure in content:
            if figure.endswith("seconds"):
                content[figure] *= 2
        record.write(timing, content, None, content.get("wrote", ()))
    summarize("fake")
    assert paths.summary("fake").read_bytes() == before
    assert cost("retinanet")["teacher_core_seconds"] == pytest.approx(2 * spent["teacher_core_seconds"])


def test_a_recipe_pays_its_share_of_asking_and_of_the_teacher(study):
    recipes = cost("retinanet")["recipes"]
    training = of_runs("retinanet", "crosskd", "timing.json", lambda each: each["training_core_seconds"])
    asked = of_runs("retinanet", "crosskd", "timing.json", lambda each: each["answers_core_seconds"])
    teacher = read_json(paths.run("fake", "retinanet", "teacher", 0, "timing.json"))["training_core_seconds"]
    assert recipes["crosskd"]["core_seconds"] == pytest.approx(training + asked / 3)
    # It teaches three recipes of three seeds.
    assert recipes["crosskd"]["with_teacher"] == pytest.approx(training + asked / 3 + teacher / 9)
    assert recipes["crosskd"]["alone"]["place"] == "longer"
    assert recipes["pkd"]["alone"]["place"] == "within"
    assert recipes["plain"]["alone"] is None
    assert recipes["crosskd"]["step"] == pytest.approx(2.39, rel=0.03)
    assert cost("retinanet")["latency"] == {"teacher": 21.4, "student": 6.2}


@pytest.mark.parametrize("content", ["[]", '[{"step": 1}]', "{", "3"])
def test_a_learning_curve_that_is_none_is_named(own, content):
    paths.run("fake", "retinanet", "pkd", 1, "learning.json").write_text(content)
    with pytest.raises(UserError, match=r"pkd/1/learning\.json: not a learning curve"):
        summarize("fake")


def test_validation_chooses_among_the_shortest_schedule(study):
    content = summary()["pairs"]["faster_rcnn"]
    assert best_recipe(content) == "mimic"
    for recipe in content["recipes"].values():
        if recipe["kind"] == "distilled" and not recipe["like"]:
            recipe["val_AP50"]["mean"] = None
    assert best_recipe(content) == "mimic_2x"


@pytest.mark.parametrize(
    ("damage", "said"), [("cut", "not the predictions of a run"), ("other", "test: of 11 images, the split has 12")]
)
def test_predictions_that_are_damaged_or_of_other_images_are_named(own, damage, said):
    file = paths.run("fake", "retinanet", "pkd", 1, "predictions.safetensors")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        fake_study.IMAGES["test"] -= 1
        fake_study.silence(own, "retinanet", "pkd", 1)
        fake_study.IMAGES["test"] += 1
    with pytest.raises(UserError, match=rf"retinanet/pkd/1/predictions.*{said}"):
        summarize("fake")


@pytest.mark.parametrize("falls", [(0.02, 0.021, 0.022), (0.3, -0.01, -0.01)], ids=["all seeds", "one seed"])
def test_a_plain_student_that_unlearns_stops_the_study(own, falls):
    for seed, fall in zip(SEEDS, falls, strict=True):
        file = paths.run("fake", "retinanet", "plain", seed, "learning.json")
        points = json.loads(file.read_text())
        points[0]["AP50"] = points[-1]["AP50"] + fall
        file.write_text(json.dumps(points))
    if min(falls) < 0:  # one seed's bad luck is not unlearning
        summarize("fake")
        return
    with pytest.raises(UserError, match=r"retinanet/student\.yaml: plain ends at .* below the .* first validation"):
        summarize("fake")

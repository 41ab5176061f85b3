"""`detdistill join`: several studies as one report, with verdicts across all of them, and what cannot be joined."""

import copy
import json
from pathlib import Path

import fake_study
import pytest
from typer.testing import CliRunner

from detdistill.analysis import compare
from detdistill.analysis.effects import Family, verdicts
from detdistill.analysis.join import join, owners, repeated
from detdistill.analysis.summarize import summarize
from detdistill.cli import app
from detdistill.core import paths
from detdistill.core.errors import UserError

STUDIES = {"one": ("faster_rcnn", "retinanet"), "two": ("rt_detr", "faster_rcnn")}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two studies of the same images that share a pair, summarized."""
    place = tmp_path_factory.mktemp("joined")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name, pairs in STUDIES.items():
            patch.setattr(fake_study, "STUDY", name)
            fake_study.make(place, (0, 1, 2), pairs)
            summarize(name)
    return place


@pytest.fixture
def studies(root, monkeypatch):
    monkeypatch.chdir(root)
    return [compare.read(name) for name in STUDIES]


def run(*arguments):
    found = CliRunner().invoke(app, ["join", *arguments])
    return found.exit_code, found.output, found.exception


def test_every_figure_stays_and_the_verdicts_are_those_of_all_families_at_once(studies):
    summary = join("both", "Both", studies)
    assert list(summary["pairs"]) == ["faster_rcnn", "retinanet", "rt_detr"]
    families = {}
    for pair, content in summary["pairs"].items():
        own = next(study for study in studies if pair in study["pairs"])["pairs"][pair]
        assert content["teacher"] == own["teacher"]
        for recipe, stats in content["recipes"].items():
            assert stats["AP50"] == own["recipes"][recipe]["AP50"]
            if stats["effect"]:
                assert stats["effect"]["low"] == pytest.approx(own["recipes"][recipe]["effect"]["low"])
        values = {name: stats["AP50"]["values"] for name, stats in content["recipes"].items()}
        for family in content["families"]:
            recipes = {name: values[name] for name in family["recipes"]}
            families[pair, family["plain"]] = Family(values[family["plain"]], recipes)
    for (pair, _), told in verdicts(families).items():
        assert {name: summary["pairs"][pair]["recipes"][name]["effect"]["verdict"] for name in told} == told


def test_more_families_ask_more_of_a_difference(studies):
    """An effect that one family alone tells is open where Holm shares the error rate out over others without any."""
    alone = copy.deepcopy(studies[:1])
    recipe = alone[0]["pairs"]["retinanet"]["recipes"]["fgd"]
    plain = alone[0]["pairs"]["retinanet"]["recipes"]["plain"]["AP50"]["values"]
    told = {}
    for gain in (0.001 * step for step in range(1, 60)):
        recipe["AP50"]["values"] = {seed: value + gain for seed, value in plain.items()}
        told[gain] = tuple(
            join("x", "x", found)["pairs"]["retinanet"]["recipes"]["fgd"]["effect"]["verdict"]
            for found in (alone, [*alone, quiet(studies[1])])
        )
    assert ("helps", "helps") in told.values()
    assert ("helps", "open") in told.values()
    assert ("open", "helps") not in told.values()


def quiet(study):
    """The same study, its recipes without any effect."""
    study = copy.deepcopy(study)
    for content in study["pairs"].values():
        for family in content["families"]:
            plain = content["recipes"][family["plain"]]["AP50"]["values"]
            for recipe in family["recipes"]:
                content["recipes"][recipe]["AP50"]["values"] = dict(plain)
    return study


def test_a_shared_pair_comes_from_the_study_with_most_of_its_recipes(studies):
    one, two = copy.deepcopy(studies)
    del one["pairs"]["faster_rcnn"]["recipes"]["mimic"]
    assert owners([one, two])["faster_rcnn"] is two
    assert owners([two, studies[0]])["faster_rcnn"] is two  # the first of equals
    two["pairs"]["faster_rcnn"]["recipes"]["pkd"]["AP50"]["mean"] += 0.02
    found = repeated([one, two])
    assert ("faster_rcnn", "mimic") not in found
    assert ("retinanet", "pkd") not in found
    assert found["faster_rcnn", "pkd"] == pytest.approx(0.02)
    assert found["faster_rcnn", "plain"] == pytest.approx(0.0)


def test_the_report_is_written_with_its_summary_and_repeats(studies):
    code, said, _ = run("both", *STUDIES, "--title", "Made up")
    assert (code, "reports/both.pdf" in said) == (0, True)
    assert compare.read("both")["title"] == "Made up"
    names = ("both.pdf", "both.html", "both/summary.json", "both/gains.svg")
    first = {name: Path("reports", name).read_bytes() for name in names}
    run("both", *STUDIES, "--title", "Made up")
    assert {name: Path("reports", name).read_bytes() for name in names} == first
    page = first["both.html"].decode()
    assert "differs from it by at most 0.0 points" in page
    assert "PKD from Faster R-CNN" in page
    assert "CrossKD" in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda study: study.update(data="other"), "their images differ"),
        (lambda study: study.update(seeds=[0, 1]), "seeds: "),
        (lambda study: study["params"].update(tuning="other"), "tuning differ"),
        (
            lambda study: study["params"].update({"faster_rcnn/pkd": "other", "data": "x"}),
            "data, faster_rcnn/pkd differ",
        ),
        (
            lambda study: study["pairs"]["faster_rcnn"]["recipes"].update(
                x=study["pairs"]["rt_detr"]["recipes"]["queries"]
            ),
            None,
        ),
    ],
)
def test_what_is_not_one_experiment_is_not_joined(studies, change, said):
    one, two = copy.deepcopy(studies)
    change(two)
    if said is None:  # neither study has the whole pair
        del two["pairs"]["faster_rcnn"]["recipes"]["pkd"]
        said = "faster_rcnn: x: not in one"
    with pytest.raises(UserError, match=said):
        join("both", "Both", [one, two])


def test_any_two_of_the_studies_must_agree_not_only_with_the_first(studies):
    one, two = copy.deepcopy(studies)
    third = two | {"study": "three", "params": two["params"] | {"rt_detr/queries": "other"}}
    with pytest.raises(UserError, match="two and three: rt_detr/queries differ"):
        join("all", "All", [one, two, third])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("../both", *STUDIES), "'../both' cannot name a report"),
        (("both", "one"), "one: name two different studies"),
        (("both", "one", "one"), "one, one: name two different studies"),
        (("two", *STUDIES), "two: a study has this name"),
        (("both", "one", "three"), "reports/three/summary.json"),
    ],
)
def test_bad_names_are_told_in_a_line_and_write_nothing(studies, arguments, said):
    before = sorted(Path().rglob("*"))
    code, _, error = run(*arguments, "--title", "Made up")
    assert code != 0
    assert said in str(error)
    assert sorted(Path().rglob("*")) == before


def test_a_damaged_cost_is_named(studies):
    file = paths.summary("one").with_name("cost.json")
    content = file.read_bytes()
    try:
        file.write_bytes(content.replace(b"1", b"2", 1))
        _, _, error = run("both", *STUDIES, "--title", "Made up")
        assert "cost.json: damaged" in str(error)
        older = json.loads(content)
        del older["pairs"]["retinanet"]["recipes"]["pkd"]["single"]
        file.write_text(json.dumps(older))
        file.with_name("timing.json").rename("timing.json")
        _, _, error = run("both", *STUDIES, "--title", "Made up")
        assert str(error) == "one: retinanet: pkd: single: missing; run `detdistill summarize` of this version"
    finally:
        file.write_bytes(content)
        if Path("timing.json").exists():
            Path("timing.json").rename(file.with_name("timing.json"))

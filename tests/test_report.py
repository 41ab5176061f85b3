"""The report of a study of made-up numbers: what it says, what it refuses to invent, and that it repeats."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import fake_study
import pytest

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import read_json
from detdistill.core.params import load_study
from detdistill.dataset import manifest
from detdistill.report import (
    limitations,
    literature,
    numbers,
    prose,
    provenance,
    setup_prose,
    setup_tables,
    statistics,
    taxonomy,
)
from detdistill.report.choice import best_recipe
from detdistill.report.citations import Citations
from detdistill.report.figures.dag import counts
from detdistill.report.names import Names
from detdistill.report.step import report
from detdistill.report.summarize import summarize
from detdistill.report.summary import distilled
from detdistill.report.tables import classes, results

FIGURES = ("taxonomy", "gains", "curves", "cost", "detections", "dag")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Makes the study in a folder of its own, which is the project root while the test runs."""
    enter(tmp_path, monkeypatch)

    def make(seeds=(0, 1), pairs=tuple(fake_study.PAIRS), gone=()):
        fake_study.make(tmp_path, seeds, pairs)
        for pair, recipe, seed in gone:
            shutil.rmtree(paths.run(fake_study.STUDY, pair, recipe, seed, "model").parent)
        summarize(fake_study.STUDY)
        return read_json(paths.summary(fake_study.STUDY))

    return make


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """One study of two pairs and two seeds with its report, for the tests that only look at it; its root."""
    root = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(root, monkeypatch)
        fake_study.make(root)
        summarize(fake_study.STUDY)
        report(fake_study.STUDY)
        yield root


def enter(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(taxonomy, "CODE", fake_study.code_root(root))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))


def printed(root=Path()):
    """The text of the PDF, words joined by single spaces."""
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    pdf = root / paths.report(fake_study.STUDY)
    told = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True).stdout
    return " ".join(told.split())


def rows(table):
    return [row for group in table.groups for row in group.rows]


def outputs(root):
    return [root / path for path in (paths.report("fake"), *(paths.figure("fake", name) for name in FIGURES))]


def test_the_report_has_every_part(reported):
    pdf, *figures = outputs(reported)
    assert len(re.findall(rb"/Type */Page\b", pdf.read_bytes())) > 3
    assert all(figure.stat().st_size > 1000 for figure in figures)


def test_the_same_files_give_the_same_bytes(reported, monkeypatch):
    first = [path.read_bytes() for path in outputs(reported)]
    enter(reported, monkeypatch)
    report(fake_study.STUDY)
    assert [path.read_bytes() for path in outputs(reported)] == first


def test_figures_carry_no_date(reported):
    _, *figures = outputs(reported)
    assert not any("dc:date" in figure.read_text() for figure in figures)


def test_printed_numbers_are_those_of_the_summary(reported):
    summary = read_json(reported / paths.summary(fake_study.STUDY))
    text = printed(reported)
    for row in summary["levels"]:
        assert numbers.spread(row["AP50"]) in text
        assert numbers.gain(row["gain_equal_steps"]) in text
        assert numbers.gain(row["gain_equal_time"]) in text
    for pair in summary["pairs"].values():
        assert numbers.points(pair["teacher"]["AP50"]["mean"]) in text
        assert numbers.count(pair["teacher"]["parameters"]).split("\u2009")[-1] in text


def test_nothing_printed_is_not_a_number(study):
    study(seeds=(0,), gone=[("faster_rcnn", "pkd", 0)])
    report(fake_study.STUDY)
    words = printed().split()
    assert not {"nan", "NaN", "inf", "None", "null"} & set(words)


def test_the_summary_agrees_with_the_runs(study):
    summary = study()
    metrics = [read_json(paths.run("fake", "retinanet", "pkd", seed, "metrics.json")) for seed in (0, 1)]
    plain = [read_json(paths.run("fake", "retinanet", "plain", seed, "metrics.json")) for seed in (0, 1)]
    gains = [ours["test"]["AP50"] - theirs["test"]["AP50"] for ours, theirs in zip(metrics, plain, strict=True)]
    pkd = summary["pairs"]["retinanet"]["recipes"]["pkd"]
    assert pkd["gain_equal_steps"]["mean"] == pytest.approx(sum(gains) / 2)
    assert pkd["overhead"]["mean"] == pytest.approx(1.28, rel=0.06)
    assert pkd["AP_large"]["n"] == 0
    assert summary["flattened"]["retinanet"]["factor"] == 1.5


def test_the_table_follows_the_taxonomy(study):
    summary = study()
    assert summary["pairs"]["faster_rcnn"]["recipes"]["pkd_chen"]["levels"] == ["neck", "rpn_roi"]
    order = ["fitnets", "fgd", "pkd", "chen", "mimic", "pkd_chen"]
    assert list(distilled(summary["pairs"]["faster_rcnn"])) == order
    assert [row["recipe"] for row in summary["levels"] if row["pair"] == "faster_rcnn"] == order


def test_a_missing_run_is_missing(study):
    summary = study(gone=[("faster_rcnn", "pkd", 1), ("faster_rcnn", "fgd", 0), ("faster_rcnn", "fgd", 1)])
    recipes = summary["pairs"]["faster_rcnn"]["recipes"]
    assert (recipes["pkd"]["missing"], recipes["pkd"]["AP50"]["n"], recipes["pkd"]["verdict"]) == (
        [1],
        1,
        "inconclusive",
    )
    assert (recipes["fgd"]["missing"], recipes["fgd"]["AP50"]["mean"]) == ([0, 1], None)
    table = {row[1]: row for row in rows(results(summary, Names(summary, literature.load())))[:9]}
    assert "seed 1 missing" in table["PKD"][2]
    assert table["FGD"][2:] == ["missing", *[""] * 7]
    report(fake_study.STUDY)
    assert "(seed 1 missing)" in printed()


def test_the_limits_name_what_is_missing(study):
    summary = study(gone=[("faster_rcnn", "fgd", 0), ("faster_rcnn", "fgd", 1)])
    data, names = manifest.load(fake_study.STUDY), Names(summary, literature.load())
    origin = provenance.collect(load_study(fake_study.STUDY), summary, data)
    first, *_ = limitations.limitations(summary, names, data, origin)
    assert first == "Without results, and shown as missing: Faster R-CNN FGD (seeds 0 and 1)."


@pytest.mark.parametrize("gone", ["teacher", "plain", "plain_long"])
def test_a_study_without_a_baseline_still_prints(study, gone):
    seeds = (0,) if gone == "teacher" else (0, 1)
    study(pairs=("retinanet",), gone=[("retinanet", gone, seed) for seed in seeds])
    report(fake_study.STUDY)
    assert paths.report(fake_study.STUDY).stat().st_size > 10_000


def test_text_from_data_cannot_break_the_page(study):
    study()
    path = paths.params(fake_study.STUDY, "study")
    hostile = "*bold* #panic() $x$ `raw` \\ <label> @ref // <svg>"
    path.write_text(path.read_text().replace("Made-up numbers, to look at the layout", f"'{hostile}'"))
    summarize(fake_study.STUDY)
    report(fake_study.STUDY)
    assert "#panic() $x$" in printed()


def test_validation_chooses_the_recipe_that_is_shown(study):
    study()
    path = paths.run("fake", "retinanet", "fgd", 0, "metrics.json")
    metrics = read_json(path)
    metrics["val"]["AP50"], metrics["test"]["AP50"] = 0.99, 0.01
    path.write_text(json.dumps(metrics))
    summarize(fake_study.STUDY)
    assert best_recipe(read_json(paths.summary("fake"))["pairs"]["retinanet"]) == "fgd"


def test_up_to_twenty_classes_are_shown_ten_a_table(study):
    summary = study()
    names = Names(summary, literature.load())
    for pair in summary["pairs"].values():
        for stats in (pair["teacher"], *pair["recipes"].values()):
            for figure in ("AP", "AP50"):
                stats[f"per_class_{figure}"] = {f"c{index}": stats[figure] for index in range(13)}
    parts = classes(summary, names, [f"c{index}" for index in range(13)])
    assert [len(part.header) - 1 for part in parts] == [10, 3]
    plain = summary["pairs"]["retinanet"]["recipes"]["plain"]
    expected = " / ".join(numbers.points(plain[figure]["mean"]) for figure in ("AP50", "AP"))
    assert [row for row in rows(parts[1]) if row[0] == "Plain student"][1] == ["Plain student", *[expected] * 3]
    assert classes(summary, names, [f"c{index}" for index in range(21)]) == []


def test_recipes_of_the_same_methods_keep_their_own_names(study):
    summary = study()
    recipes = summary["pairs"]["retinanet"]["recipes"]
    recipes["pkd_twice"] = recipes["pkd"]
    names = Names(summary, literature.load())
    assert names.recipe("retinanet", "pkd_twice") == "PKD (pkd_twice)"
    assert names.recipe("retinanet", "crosskd") == "CrossKD"


def test_the_graph_counts_every_step(study):
    study()
    steps = counts(load_study(fake_study.STUDY))
    assert steps["teacher"] == steps["start"] == 3
    assert (steps["student"], steps["distill"]) == (12, 34)
    assert steps["evaluate"] == 3 + 12 + 34


def test_a_study_of_three_pairs_has_every_level(study):
    summary = study()
    found = {level for row in summary["levels"] for level in row["levels"]}
    assert found == {level.key for level in taxonomy.LEVELS}


def test_a_teacher_of_another_pair_sets_the_gap(study):
    summary = study()
    recipe = summary["pairs"]["rt_detr"]["recipes"]["pkd_cnn"]
    teacher = summary["pairs"]["faster_rcnn"]["teacher"]["AP50"]["mean"]
    plain = summary["pairs"]["rt_detr"]["recipes"]["plain"]["runs"]
    closed = [
        (run["AP50"] - plain[seed]["AP50"]) / (teacher - plain[seed]["AP50"]) for seed, run in recipe["runs"].items()
    ]
    assert recipe["teacher"] == "faster_rcnn"
    assert recipe["gap_closed"]["mean"] == pytest.approx(sum(closed) / 2)
    assert summary["pairs"]["rt_detr"]["recipes"]["d3etr"]["teacher"] == "rt_detr"
    shelf = literature.load()
    names = Names(summary, shelf)
    assert names.recipe("rt_detr", "pkd_cnn") == "PKD from Faster R-CNN"
    table = setup_tables.methods(summary, names, shelf, Citations(shelf))
    assert next(row[3] for row in rows(table) if row[0] == "pkd_cnn") == "teacher of Faster R-CNN, weight 6"
    said = setup_prose.across(load_study(fake_study.STUDY), names)
    assert "FitNets from RT-DETR (RetinaNet) and PKD from Faster R-CNN (RT-DETR) learn" in said


def test_the_cost_of_every_step_is_known(study):
    summary = study()
    origin = provenance.collect(load_study(fake_study.STUDY), summary, manifest.load(fake_study.STUDY))
    steps = counts(load_study(fake_study.STUDY))
    for step in steps.keys() - {"report"}:
        assert sum(cost.runs for cost in origin.costs if cost.step == step) == steps[step], step


def test_what_a_pair_begins_with_is_said(study):
    summary = study()
    names, loaded = Names(summary, literature.load()), load_study(fake_study.STUDY)
    assert setup_prose.beginnings(loaded, names).endswith("Teachers and starts are trained from nothing.")
    first, second, _ = loaded.pairs
    teacher = paths.teacher(fake_study.STUDY, first.pair).as_posix()
    other = loaded.model_copy(update={"pairs": [first, second.model_copy(update={"teacher_from": teacher})]})
    said = setup_prose.beginnings(other, names)
    assert "RetinaNet: the teacher begins with backbone and neck of the Faster R-CNN teacher." in said
    assert "Faster R-CNN begins from nothing." in said


def test_boxes_that_were_dropped_or_clipped_are_named(study):
    study()
    data = manifest.load(fake_study.STUDY)
    assert setup_prose.faults(data) == (
        "One annotated box was dropped and one annotated box was clipped "
        "(train-00007.png, dropped: no width; train-00011.png, clipped: outside the image)."
    )
    train = data.splits["train"].model_copy(update={"dropped": 7})
    more = setup_prose.faults(data.model_copy(update={"splits": {"train": train}}))
    assert more.startswith("7 annotated boxes were dropped")
    assert more.endswith("; the manifest has the other 6).")
    assert setup_prose.faults(data.model_copy(update={"splits": {"val": data.splits["val"]}})) == ""


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ((0.001, 0.002), "is flat for our purpose"),
        ((0.0, 0.03), "seems flat, but the seeds do not exclude a rise"),
        ((0.0, 0.09), "seems to rise still"),
        ((0.060, 0.062), "Its curve still rises"),
    ],
)
def test_a_curve_is_called_flat_only_as_far_as_the_seeds_show(study, differences, said):
    summary = study(pairs=("retinanet",))
    difference = statistics.stat(dict(enumerate(differences)))
    summary["flattened"]["retinanet"]["difference"] = difference
    assert said in prose.flatness(summary, "retinanet", Names(summary, literature.load()))


def test_without_a_verdict_nothing_is_claimed(study):
    summary = study(pairs=("retinanet",))
    for row in summary["levels"]:
        row["verdict"] = summary["pairs"]["retinanet"]["recipes"][row["recipe"]]["verdict"] = "inconclusive"
    said = prose.abstract(summary, Names(summary, literature.load()), manifest.load(fake_study.STUDY))
    assert "no recipe is shown to help or to hurt" in said
    assert said.endswith("no gain at equal steps can be told from chance, which is not proof that there is none.")


def test_a_paper_in_parts_is_one_paper():
    shelf = literature.load()
    queries, logits = shelf.paper("detrdistill_queries"), shelf.paper("detrdistill_logits")
    assert queries is logits
    assert shelf.name("detrdistill_logits") == "DETRDistill logits"
    citations = Citations(shelf)
    assert citations.mark("detrdistill_queries") == citations.mark("detrdistill_logits") != citations.mark("kd_detr")
    assert citations.mark("homemade") == ""


def test_every_method_of_the_code_has_a_paper(monkeypatch):
    monkeypatch.setattr(taxonomy, "CODE", Path(taxonomy.__file__).parents[1] / "distill")
    assert "pkd" in taxonomy.implemented()
    shelf = literature.load()
    for method, level in taxonomy.implemented().items():
        paper = shelf.paper(method)
        assert paper is not None, method
        assert level in paper.levels, method


def test_an_unknown_method_is_named_with_its_neighbour(study):
    study()
    with pytest.raises(UserError, match="did you mean 'pkd'"):
        taxonomy.level_of("pdk")


def test_published_figures_have_a_paper_and_a_source():
    shelf = literature.load()
    assert all(figure.reference in shelf.references for figure in shelf.figures)
    assert all(figure.source or figure.note for figure in shelf.figures)
    levels = {level.key for level in taxonomy.LEVELS}
    assert all(set(paper.levels) <= levels for paper in shelf.references.values())


@pytest.mark.parametrize(
    ("value", "text"), [(0.4534, "+45.3"), (-0.021, "−2.1"), (0.0004, "0.0"), (-0.0004, "0.0"), (None, "–")]
)
def test_points(value, text):
    assert numbers.points(value, signed=True) == text


@pytest.mark.parametrize(("seconds", "text"), [(8.6, "9 s"), (462, "7 min 42 s"), (3725, "1 h 02 min"), (None, "–")])
def test_durations(seconds, text):
    assert numbers.duration(seconds) == text


def test_a_commit_is_dirty_by_source_and_not_by_results(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert provenance.commit(tmp_path).name == provenance.UNKNOWN
    for name in ("code.py", "dvc.lock", "params/smoke/dvc.lock", "reports/a.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    for name in ("dvc.lock", "params/smoke/dvc.lock", "reports/a.pdf", "untracked"):
        (tmp_path / name).write_text("second")
    found = provenance.commit(tmp_path)
    assert (len(found.name), found.dirty) == (40, False)
    (tmp_path / "code.py").write_text("second")
    assert provenance.commit(tmp_path).dirty is True


def test_the_params_digest_sees_content_and_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file in files:
        file.write_text("steps: 1\n")
    before = provenance.params_digest(files)
    assert provenance.params_digest(files) == before
    assert provenance.params_digest(files[:1]) != before
    files[0].write_text("steps: 2\n")
    assert provenance.params_digest(files) != before


def test_findings_name_the_baseline_first_whatever_is_found(study):
    summary = study(pairs=("retinanet",))
    content = summary["pairs"]["retinanet"]
    for stats in distilled(content).values():
        stats["gain_equal_steps"] = statistics.stat({0: -0.01, 1: -0.02})
    said = prose.findings(content, "retinanet", Names(summary, literature.load()))
    assert "above the baseline in no seed" in said
    assert "above it" not in said

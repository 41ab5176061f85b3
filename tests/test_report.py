"""The report of a study of made-up numbers: what it says, what it refuses to invent, and that it repeats."""

import copy
import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path

import fake_study
import pytest
import torch
import yaml
from pypdf import PdfReader

from detdistill.analysis.choice import best_recipe, shown
from detdistill.analysis.summarize import summarize
from detdistill.analysis.summary import by_level, distilled
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import read_json
from detdistill.core.params import load_study
from detdistill.dataset import manifest
from detdistill.dataset.manifest import Skipped
from detdistill.dataset.records import Record
from detdistill.distill import taxonomy
from detdistill.evaluate import maps as kept_maps
from detdistill.report import limitations, literature, numbers, prose, provenance, setup_prose, setup_tables, tables
from detdistill.report.citations import Citations
from detdistill.report.document import document
from detdistill.report.figures import maps, pictures, schedules
from detdistill.report.figures import taxonomy as taxonomy_figure
from detdistill.report.figures.dag import counts
from detdistill.report.figures.gains import common_methods
from detdistill.report.figures.style import MARKS, class_labels
from detdistill.report.names import Names
from detdistill.report.step import report
from detdistill.report.tables import Group, Table, lean
from detdistill.stages import FIGURES

PAIR = ("retinanet",)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Makes the study in a folder of its own, which is the project root while the test runs; its summary."""
    enter(tmp_path, monkeypatch)

    def make(seeds=(0, 1), pairs=tuple(fake_study.PAIRS), gone=(), silent=()):
        fake_study.make(tmp_path, seeds, pairs)
        for run in gone:
            fake_study.remove(tmp_path, *run)
        for run in silent:
            fake_study.silence(tmp_path, *run)
        summarize(fake_study.STUDY)
        return read_json(paths.summary(fake_study.STUDY))

    return make


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """One study of three pairs and two seeds with its report, for the tests that only look at it; its root."""
    root = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(root, monkeypatch)
        fake_study.make(root)
        summarize(fake_study.STUDY)
        report(fake_study.STUDY)
        yield root


@pytest.fixture
def told(reported, monkeypatch):
    """The summary, the cost, the names and the manifest of that study, a copy of one's own."""
    enter(reported, monkeypatch)
    summary = read_json(paths.summary(fake_study.STUDY))
    cost = read_json(paths.summary(fake_study.STUDY).with_name("cost.json"))
    return summary, cost, Names(summary, literature.load()), manifest.load(fake_study.STUDY)


def enter(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))


def printed(root=Path()):
    """The text of the PDF, words joined by single spaces."""
    pages = PdfReader(root / paths.report(fake_study.STUDY)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


def rows(table):
    return [row for group in table.groups for row in group.rows]


def outputs(root):
    pdf = paths.report("fake")
    return [root / path for path in (pdf, page(), *(paths.figure("fake", name) for name in FIGURES))]


def page():
    return paths.report("fake").with_suffix(".html")


class Page(HTMLParser):
    """The tags of a page with their attributes, its visible text, and the rows of its tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.rows, self.inside = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = self.inside if tag == "a" else tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside = self.inside if tag == "a" else ""

    def handle_data(self, data):
        if self.inside not in ("style", "script"):
            self.words.append(data)
        if self.inside in ("td", "th"):
            self.rows[-1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def test_the_report_has_every_part(reported):
    pdf, _, *figures = outputs(reported)
    assert len(re.findall(rb"/Type */Page\b", pdf.read_bytes())) > 3
    assert all(figure.stat().st_size > 1000 for figure in figures)


def test_the_same_files_give_the_same_bytes(reported, monkeypatch):
    first = [path.read_bytes() for path in outputs(reported)]
    enter(reported, monkeypatch)
    report(fake_study.STUDY)
    assert [path.read_bytes() for path in outputs(reported)] == first


def test_figures_carry_no_date(reported):
    _, _, *figures = outputs(reported)
    assert not any("dc:date" in figure.read_text() for figure in figures)


def test_the_page_says_what_the_paper_says(reported, told):
    summary, cost, _, data = told
    study, shelf = load_study(fake_study.STUDY), literature.load()
    content = document(study, summary, cost, data, provenance.collect(study, summary, data), shelf)
    found = Page((reported / page()).read_text().replace("’", "'"))  # Typst's, of the same text
    text = " ".join("".join(found.words).split())
    for said in (content["abstract"], *content["findings"], *content["limitations"], *content["references"]):
        assert " ".join(said.split()) in text
    for table in content["tables"].values():
        for each in table if isinstance(table, list) else [table]:
            assert [row for group in each["groups"] for row in group["rows"] if row not in found.rows] == []


def test_the_page_needs_nothing_else_and_can_be_heard(reported):
    found = Page((reported / page()).read_text())
    assert len(found.all("img")) == len(list((reported / page()).with_suffix("").glob("*.svg")))
    assert all(image["src"].startswith("data:image/svg+xml;base64,") and image["alt"] for image in found.all("img"))
    assert all(head.get("scope") for head in found.all("th"))
    assert not found.all("link")
    assert not any(script.get("src") for script in found.all("script"))
    assert {"header", "nav", "main", "h1"} <= {tag for tag, _ in found.tags}
    ids = {attrs["id"] for _, attrs in found.tags if "id" in attrs}
    links = {link["href"] for link in found.all("a")}
    assert links - {f"#{each}" for each in ids} == {"fake.pdf"}
    assert "#reference-1" in links


def test_printed_numbers_are_those_of_the_summary(reported):
    summary = read_json(reported / paths.summary(fake_study.STUDY))
    text = printed(reported)
    for _, _, stats in by_level(summary):
        assert numbers.spread(stats["AP50"]) in text
        assert numbers.gain(stats["effect"]) in text
    for pair in summary["pairs"].values():
        assert numbers.points(pair["teacher"]["AP50"]["mean"]) in text
        assert numbers.count(pair["teacher"]["parameters"]).split("\u2009")[-1] in text


def test_nothing_printed_is_not_a_number(study):
    study(seeds=(0,), pairs=PAIR, gone=[("retinanet", "pkd", 0)])
    report(fake_study.STUDY)
    assert not re.search(r"\b(nan|NaN|inf|None|null)\b", printed())


def test_one_seed_has_no_verdict_and_says_so_once(study):
    summary = study(seeds=(0,), pairs=PAIR)
    cost = read_json(paths.summary("fake").with_name("cost.json"))
    names = Names(summary, literature.load())
    said = prose.abstract(summary, cost, names, manifest.load("fake"))
    assert "no interval and no verdict is given" in said
    assert "every interval" not in said
    assert {row[-1] for row in rows(tables.results(summary, names, literature.load()))[3:]} == {"no verdict"}
    report("fake")
    assert "helps" not in printed().split()


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (("helps", "helps", "helps", "helps"), "shown to help at every level tried: backbone, neck and head."),
        (("open", "open", "open", "open"), "shown to help at no level. Of 4 recipes, 4 stay open: neither an effect"),
        (
            ("no effect", "open", "open", "helps"),
            "to help at head; at backbone and neck it is not shown to help. Of 4 recipes, 2 stay open",
        ),
        (
            ("hurts", "hurts", "helps", "helps"),
            "help at neck and head; at backbone and neck a recipe is shown to hurt.",
        ),
    ],
)
def test_the_conclusion_follows_the_verdicts(told, verdicts, said):
    summary, _, names, _ = told
    summary["pairs"] = {"retinanet": summary["pairs"]["retinanet"]}
    recipes = distilled(summary["pairs"]["retinanet"])
    assert [stats["levels"] for stats in recipes.values()] == [["backbone"], ["neck"], ["neck"], ["head"]]
    for stats, verdict in zip(recipes.values(), verdicts, strict=True):
        stats["effect"]["verdict"] = verdict
    assert said in prose.conclusion(summary, names)


def test_the_conclusion_names_the_pairs_that_are_hurt_and_the_sets_that_help(told):
    summary, _, names, _ = told
    for _, name, stats in by_level(summary):
        stats["effect"]["verdict"] = {"pkd_chen": "helps", "chen": "hurts"}.get(name, "open")
    said = prose.conclusion(summary, names)
    assert "at RPN/RoI (Faster R-CNN) a recipe is shown to hurt" in said
    assert "of several levels at once, PKD + Chen et al. (Faster R-CNN) helps." in said


def test_a_study_without_recipes_says_so(told):
    summary, cost, names, data = told
    for content in summary["pairs"].values():
        content["recipes"] = {name: stats for name, stats in content["recipes"].items() if stats["kind"] == "plain"}
    said = prose.abstract(summary, cost, names, data)
    assert said.startswith("What do plain students reach? No recipe of distillation is trained")
    assert "In conclusion" not in said


def test_a_pairs_published_figures_are_those_of_its_family(told):
    _, _, names, _ = told
    assert [names.family(pair) for pair in ("faster_rcnn", "faster_rcnn_r50", "rt_detr_small", "mine")] == [
        "Faster R-CNN",
        "Faster R-CNN",
        "RT-DETR",
        "mine",
    ]


def test_every_pair_has_its_mark_in_the_figure_of_levels(told):
    summary, _, names, _ = told
    summary["pairs"] = {f"pair_{n}": summary["pairs"]["retinanet"] for n in range(7)}
    drawn = " ".join(text.get_text() for text in taxonomy_figure.draw(summary, names, literature.load()).axes[0].texts)
    assert all(f"{mark} pair_{n}" in drawn for n, mark in enumerate(MARKS))
    assert f"CrossKD\u00a0{MARKS}" in drawn


def test_what_is_shown_beside_a_recipe_is_its_own_plain_student(told):
    content = told[0]["pairs"]["faster_rcnn"]
    assert shown(content) == ("plain", "mimic")
    for name in [name for name, stats in distilled(content).items() if not stats["like"]]:
        del content["recipes"][name]
    assert shown(content) == ("plain_2x", "mimic_2x")
    assert [name for name, _ in tables.compared(content)] == ["teacher", "plain_2x", "mimic_2x"]


def test_a_missing_run_is_missing(study):
    summary = study(gone=[("faster_rcnn", "pkd", 1), ("faster_rcnn", "fgd", 0), ("faster_rcnn", "fgd", 1)])
    recipes = summary["pairs"]["faster_rcnn"]["recipes"]
    assert (recipes["pkd"]["missing"], recipes["pkd"]["AP50"]["n"]) == ([1], 1)
    assert (recipes["fgd"]["missing"], recipes["fgd"]["AP50"]["mean"], recipes["fgd"]["effect"]) == ([0, 1], None, None)
    names = Names(summary, literature.load())
    table = {row[1]: row for row in rows(tables.results(summary, names, literature.load()))[:11]}
    assert "seed 1 missing" in table["PKD"][2]
    assert (table["FGD"][2:7], table["FGD"][-1]) == (["missing", *[""] * 4], "")
    origin = provenance.collect(load_study("fake"), summary, manifest.load("fake"))
    first, *_ = limitations.limitations(summary, names, limitations.trained_on(manifest.load("fake"), origin))
    missing = "Faster R-CNN FGD (seeds 0 and 1) and Faster R-CNN PKD (seed 1)"
    assert first == f"Without results, and shown as missing: {missing}."
    report(fake_study.STUDY)
    assert "(seed 1 missing)" in printed()


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (0.9, None),
        (0.5, "the data are no harder than what the plain student learns by itself"),
        (0.2, "the teacher itself has learnt little"),
    ],
)
def test_a_pair_whose_teacher_is_not_ahead_cannot_show_distillation(study, teacher, said):
    summary = study()
    names = Names(summary, literature.load())
    for content in summary["pairs"].values():
        content["teacher"]["AP50"]["mean"] = 0.9
    content = summary["pairs"]["retinanet"]
    content["teacher"]["AP50"]["mean"], content["recipes"][content["plain"][0]]["AP50"]["mean"] = teacher, 0.45
    told = limitations.gaps(summary, names)
    assert len(told) == (said is not None)
    assert all(each.startswith("RetinaNet cannot show distillation on these data") and said in each for each in told)
    first = "RetinaNet cannot show distillation on these data: the teacher is not 10.0 points above the plain student."
    cost = read_json(paths.summary("fake").with_name("cost.json"))
    assert (first in prose.answered(summary, cost, names)) == (said is not None)


@pytest.mark.parametrize("gone", ["teacher", "plain", "plain_2x"])
def test_a_study_without_a_baseline_still_prints(study, gone):
    seeds = (0,) if gone == "teacher" else (0, 1)
    study(pairs=PAIR, gone=[("retinanet", gone, seed) for seed in seeds])
    report(fake_study.STUDY)
    assert paths.report(fake_study.STUDY).stat().st_size > 10_000


def test_a_run_that_detects_nothing_loses_all_to_missed_objects(study):
    summary = study(pairs=PAIR, silent=[("retinanet", "pkd", 0), ("retinanet", "pkd", 1)])
    stats = summary["pairs"]["retinanet"]["recipes"]["pkd"]
    assert {kind: lost["mean"] for kind, lost in stats["errors"].items() if lost["mean"]} == {}
    assert {size: found["mean"] for size, found in stats["by_size"].items()} == {
        "smallest": 0.0,
        "middle": 0.0,
        "largest": 0.0,
    }
    report(fake_study.STUDY)
    assert paths.report(fake_study.STUDY).stat().st_size > 10_000


def test_text_from_data_cannot_break_the_page(study):
    study(pairs=PAIR)
    path = paths.params(fake_study.STUDY, "study")
    hostile = "*bold* #panic() $x$ `raw` \\ <label> @ref // <svg>"
    path.write_text(path.read_text().replace("Made-up numbers, to look at the layout", f"'{hostile}'"))
    summarize(fake_study.STUDY)
    report(fake_study.STUDY)
    assert "#panic() $x$" in printed()


def test_validation_chooses_the_recipe_that_is_shown(study):
    study(pairs=PAIR)
    path = paths.run("fake", "retinanet", "fgd", 0, "metrics.json")
    metrics = read_json(path)
    metrics["val"]["AP50"], metrics["test"]["AP50"] = 0.99, 0.01
    path.write_text(json.dumps(metrics))
    summarize(fake_study.STUDY)
    assert best_recipe(read_json(paths.summary("fake"))["pairs"]["retinanet"]) == "fgd"


def test_recipes_of_the_same_methods_keep_their_own_names(told):
    summary, *_ = told
    recipes = summary["pairs"]["retinanet"]["recipes"]
    recipes["pkd_twice"] = recipes["pkd"]
    names = Names(summary, literature.load())
    assert names.recipe("retinanet", "pkd_twice") == "PKD (pkd_twice)"
    assert names.recipe("retinanet", "crosskd") == "CrossKD"
    assert names.recipe("faster_rcnn", "mimic_2x") == "Mimic\u00a02×"
    assert names.recipe("faster_rcnn", "plain_2x") == "Plain student\u00a02×"


def test_the_graph_counts_every_step(told):
    steps = counts(load_study(fake_study.STUDY))
    assert steps["teacher"] == steps["latency"] == 3
    assert (steps["student"], steps["distill"], steps["tune"]) == (12, 38, 17)
    assert steps["evaluate"] == 3 + 12 + 38


def test_the_cost_of_every_step_is_known(told):
    summary, _, _, data = told
    origin = provenance.collect(load_study(fake_study.STUDY), summary, data)
    steps = counts(load_study(fake_study.STUDY))
    for step in steps.keys() - {"report"}:
        assert sum(cost.runs for cost in origin.costs if cost.step == step) == steps[step], step


def test_an_accelerator_that_core_time_does_not_hold_is_told(told):
    summary, cost, _, data = told
    study, papers = load_study(fake_study.STUDY), literature.load()
    origin = provenance.collect(study, summary, data)
    assert limitations.accelerated(origin) == []
    machines = [origin.machines[0] | {"accelerator": "cuda"}, *origin.machines[1:]]
    content = document(study, summary, cost, data, dataclasses.replace(origin, machines=machines), papers)
    assert content["limitations"][0].startswith("Models were trained on an accelerator (cuda), whose time is not")
    assert "accelerator cuda" in str(content["tables"]["origin"])


def test_a_step_that_does_not_import_a_package_adds_no_version_of_it(told):
    summary, _, _, data = told
    found = provenance.collect(load_study(fake_study.STUDY), summary, data).versions["torchvision"]
    assert set(found) == {fake_study.VERSIONS["torchvision"], version("torchvision")}  # of a made-up step, of summarize


def test_a_study_of_three_pairs_has_every_level_in_order(told):
    summary, *_ = told
    found = [stats["levels"] for _, _, stats in by_level(summary)]
    assert list(dict.fromkeys(levels[0] for levels in found if len(levels) == 1)) == [
        level.key for level in taxonomy.LEVELS
    ]
    assert found[-1] == ["neck", "rpn_roi"]
    order = ["fitnets", "fgd", "pkd", "pkd_2x", "chen", "mimic", "mimic_2x", "pkd_chen"]
    assert list(distilled(summary["pairs"]["faster_rcnn"])) == order


def test_the_method_of_every_pair_is_marked(told):
    summary, *_ = told
    assert common_methods(summary) == {"pkd"}
    del summary["pairs"]["rt_detr"]["recipes"]["pkd_cnn"]
    assert common_methods(summary) == set()


def test_a_teacher_of_another_pair_is_named(told):
    summary, _, names, _ = told
    assert names.recipe("rt_detr", "pkd_cnn") == "PKD from Faster R-CNN"
    shelf = literature.load()
    table = setup_tables.methods(summary, names, shelf, Citations(shelf))
    assert next(row[3] for row in rows(table) if row[0] == "pkd_cnn") == "teacher of Faster R-CNN, weight 6"
    assert next(row[3] for row in rows(table) if row[0] == "mimic_2x") == "as mimic, 2× the steps"
    said = setup_prose.across(load_study(fake_study.STUDY), names)
    assert "FitNets from RT-DETR (RetinaNet) and PKD from Faster R-CNN (RT-DETR) learn" in said


def test_how_images_are_varied_is_told_where_they_are(told, tmp_path, monkeypatch):
    _, _, names, _ = told
    shutil.copytree("params", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    plan = load_study(fake_study.STUDY)
    assert not [row for row in rows(setup_tables.training(plan, names, 4000)) if row[0].startswith("augment")]
    file = paths.params(plan.study, plan.pairs[0].pair, "student")
    values = yaml.safe_load(file.read_text())
    values["training"] |= {"ask_teacher": "each_step", "augment": {"flip": 0.5, "scale": [0.6, 1.5], "hue": 0.0}}
    file.write_text(yaml.safe_dump(values))
    varied = {
        row[0]: row[1:3] for row in rows(setup_tables.training(plan, names, 4000)) if row[0].startswith("augment")
    }
    [epochs, *_] = [row[1:3] for row in rows(setup_tables.training(plan, names, 100)) if row[0] == "epochs"]
    assert epochs == ["160", "160"]
    assert varied == {"augment: flip": [numbers.NONE, "0.5"], "augment: scale": [numbers.NONE, "0.6, 1.5"]}


def test_what_a_pair_begins_with_is_said(told):
    _, _, names, _ = told
    loaded = load_study(fake_study.STUDY)
    assert setup_prose.beginnings(loaded, names).startswith("All teachers and students begin with random weights")
    first, second, third = loaded.pairs
    teacher = paths.teacher(fake_study.STUDY, first.pair).as_posix()
    student = paths.run(fake_study.STUDY, first.pair, "plain", 0, "model.safetensors").as_posix()
    pairs = [
        first,
        second.model_copy(update={"teacher_from": teacher}),
        third.model_copy(update={"student_from": student}),
    ]
    said = setup_prose.beginnings(loaded.model_copy(update={"pairs": pairs}), names)
    assert "RetinaNet: the teacher begins with backbone and neck of the Faster R-CNN teacher." in said
    assert (
        "RT-DETR: all students begin with backbone and neck of a Faster R-CNN student that no teacher helped." in said
    )
    assert "Faster R-CNN begins with random weights." in said


def test_published_weights_are_no_random_ones(told, tmp_path, monkeypatch):
    _, _, names, _ = told
    shutil.copytree("params", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    file = paths.params(fake_study.STUDY, "retinanet", "student")
    values = yaml.safe_load(file.read_text())
    values["detector"]["weights"] = "imagenet"
    file.write_text(yaml.safe_dump(values))
    said = setup_prose.beginnings(load_study(fake_study.STUDY), names)
    assert "RetinaNet: all students begin with published weights." in said


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("helps", "tried at neck and RPN/RoI, it is shown to help at RPN/RoI."),
        ("open", "tried at neck and RPN/RoI, it is not shown to help at any."),
    ],
)
def test_the_conclusion_says_what_is_left_on_the_longest_schedule(told, verdict, said):
    summary, _, names, _ = told
    recipes = summary["pairs"]["faster_rcnn"]["recipes"]
    recipes["mimic_2x"]["effect"]["verdict"], recipes["pkd_2x"]["effect"]["verdict"] = verdict, "open"
    assert said in prose.conclusion(summary, names)


def test_a_gain_on_a_longer_schedule_stands_beside_the_first(told):
    summary, _, names, _ = told
    content = summary["pairs"]["faster_rcnn"]
    said = prose.ladder(content, "faster_rcnn", names)
    for name in ("mimic", "mimic_2x"):
        assert numbers.gain(content["recipes"][name]["effect"]) in said
    assert prose.ladder(summary["pairs"]["retinanet"], "retinanet", names) == ""
    longest = copy.deepcopy(content["recipes"]["mimic_2x"]) | {"schedule_factor": 4.0}
    content["recipes"]["mimic_4x"] = longest | {"effect": longest["effect"] | {"difference": 0.123}}
    twice, four = (numbers.gain(content["recipes"][f"mimic_{times}x"]["effect"]) for times in (2, 4))
    said = prose.ladder(content, "faster_rcnn", names)
    assert f"with 2 and 4 times the steps {twice} and {four}" in said
    assert said.count("Mimic gains") == 1


def test_recipes_on_longer_schedules_are_counted_apart(told):
    summary, *_ = told
    assert "We train 17 recipes of knowledge distillation" in prose.asked(summary, "data")
    assert ", 2 of them on longer schedules too, beside" in prose.asked(summary, "data")


def test_a_figure_of_schedules_has_the_pairs_of_several(told):
    summary, _, names, _ = told
    titles = [axes.get_title() for axes in schedules.draw(summary, names).axes]
    assert titles == ["Faster R-CNN", ""]
    del summary["pairs"]["faster_rcnn"]
    assert schedules.draw(summary, names).axes == []


def test_the_price_of_a_recipe_is_the_sum_of_its_parts(told):
    _, cost, *_ = told
    for content in cost["pairs"].values():
        for own in content["recipes"].values():
            if own["teaching"] is not None:
                parts = own["training_core_seconds"]["mean"] + own["asking"] + own["teaching"]
                assert own["with_teacher"] == pytest.approx(parts)
    own = cost["pairs"]["faster_rcnn"]["recipes"]["pkd"]
    plain = cost["pairs"]["faster_rcnn"]["recipes"]["plain"]
    assert own["over_plain"] == pytest.approx(own["with_teacher"] / plain["core_seconds"])
    assert plain["asking"] is plain["teaching"] is plain["for_one"] is None
    longer = cost["pairs"]["faster_rcnn"]["recipes"]["pkd_2x"]
    for each in (own, longer):  # one is tuned for both: 24 s of answers, 340 s of tuning
        parts = each["training_core_seconds"]["mean"] + 24.0 + cost["pairs"]["faster_rcnn"]["teacher_core_seconds"]
        assert each["for_one"] == pytest.approx(parts + 340.0)


def test_recipes_are_told_from_plain_training_of_the_same_time_by_name(told):
    summary, cost, names, _ = told
    content, paid = summary["pairs"]["faster_rcnn"], cost["pairs"]["faster_rcnn"]
    pkd = paid["recipes"]["pkd"]["alone"] | {"difference": 0.02, "low": 0.01, "high": 0.03}
    for own in paid["recipes"].values():
        own["alone"] = None
    paid["recipes"]["pkd"]["alone"] = pkd
    assert prose.at_equal_cost(content, paid, "faster_rcnn", names) == "Faster R-CNN: PKD (+2.0) above."
    pkd["low"] = -0.01
    assert prose.at_equal_cost(content, paid, "faster_rcnn", names) == "Faster R-CNN: 1 not told apart."
    paid["recipes"]["pkd"]["alone"] = None
    assert prose.at_equal_cost(content, paid, "faster_rcnn", names) == ""


def test_a_longer_schedule_that_gains_more_than_any_recipe_is_said_twice(told):
    summary, cost, names, data = told
    content = summary["pairs"]["retinanet"]
    plain = content["recipes"]["plain"]["AP50"]["mean"]
    content["recipes"]["plain_2x"]["AP50"]["mean"] = plain + 0.3
    said = "Without a teacher 2 times the steps give +30.0; none of 4 recipes gains more than that."
    assert said in prose.abstract(summary, cost, names, data)
    told_of = limitations.limitations(summary, names, "")
    assert any(each.startswith("The plain student of RetinaNet gains more by a longer schedule") for each in told_of)


def test_a_verdict_that_ap_does_not_share_is_named(told):
    summary, _, names, _ = told
    for content in summary["pairs"].values():
        for stats in distilled(content).values():
            stats["effect_AP"]["verdict"] = stats["effect"]["verdict"]
    assert "every verdict is the same" in limitations.limitations(summary, names, "")[-1]
    pkd = summary["pairs"]["retinanet"]["recipes"]["pkd"]
    pkd["effect_AP"] = {**pkd["effect_AP"], "difference": 0.01, "low": -0.01, "high": 0.03, "verdict": "open"}
    assert "another for PKD, RetinaNet: open, +1.0 [−1.0, +3.0]." in limitations.limitations(summary, names, "")[-1]


def test_what_changed_is_said_of_the_recipe_that_validation_chose(told):
    summary, _, names, _ = told
    content = summary["pairs"]["retinanet"]
    plain, best = (content["recipes"][name] for name in ("plain", best_recipe(content)))
    for kind in plain["errors"]:
        best["errors"][kind] = {**plain["errors"][kind]}
    for size in plain["by_size"]:
        best["by_size"][size] = {**plain["by_size"][size], "mean": plain["by_size"][size]["mean"] + 0.04}
    best["errors"]["missed"]["mean"] -= 0.02
    best["errors"]["both"]["mean"] += 0.004  # less than half a point
    assert prose.changed(content, "retinanet", names) == (
        "RetinaNet, CrossKD beside plain: the AP50 lost to mistakes changes by −2.0 (missed) points; "
        "the gain by thirds of the objects is +4.0 (smallest), +4.0 (middle) and +4.0 (largest)."
    )


def test_a_study_of_one_schedule_has_no_table_of_equal_cost(told):
    summary, cost, names, _ = told
    assert tables.equal_cost(summary, cost, names)
    for content in summary["pairs"].values():
        content["plain"] = content["plain"][:1]
    assert tables.equal_cost(summary, cost, names) is None


def test_gradient_shares_have_a_row_a_recipe_and_one_for_each_further_method(told):
    summary, _, names, _ = told
    inside = summary["pairs"]["faster_rcnn"]["recipes"]["pkd_chen"]["inside"]
    for point in inside.values():
        point["chen"] = {**point["pkd"], "mean": 0.5}
    found = tables.regions(summary, names, literature.load())
    labels = [row[0] for group in found.groups[:1] for row in group.rows]
    assert len(set(labels)) == len(labels)
    both = labels.index("PKD + Chen et al.")
    whole, first, second = found.groups[0].rows[both : both + 3]
    assert [row[0] for row in (first, second)] == ["\u2003PKD", "\u2003Chen et al."]
    # A share of 0.35 and of 0.5 in cells that are 0.21 of the maps; 0.4 + 0.2 * 250 / 2000 of the native losses.
    assert (whole[1], whole[3], whole[5]) == ("21.0", "2.02×", "")
    assert (first[5], second[5]) == ("1.67×", "2.38×")


def test_what_was_published_stands_beside_what_was_measured(told):
    summary, _, names, _ = told
    table = tables.results(summary, names, literature.load())
    place = table.header.index("Published")
    told_of = {(group.title, row[1]): row[place] for group in table.groups for row in group.rows}
    assert told_of["Faster R-CNN", "PKD"] == "+1.9 AP (136 %)"
    assert told_of["RT-DETR", "PKD from Faster R-CNN"] == "+3.4 AP (94 %), RetinaNet"
    assert told_of["RT-DETR", "DETRDistill logits"] == ""


def test_the_maps_drawn_are_those_kept_and_a_run_without_is_missing(told):
    summary, _, names, data = told
    content = summary["pairs"]["retinanet"]
    best = best_recipe(content)
    summary["pairs"] = {"retinanet": content}
    _, teacher, plain, taught = maps.draw(summary, names, data).axes
    for axes, recipe in ((teacher, "teacher"), (plain, "plain"), (taught, best)):
        kept = kept_maps.load(paths.run("fake", "retinanet", recipe, 0, "maps.safetensors"))
        (drawn,) = axes.images
        assert drawn.get_array().tolist() == kept["neck.4"].tolist()
        assert drawn.get_extent() == [0, 128, 96, 0]
    content["teacher"]["AP50"]["n"] = 0
    _, teacher, *_ = maps.draw(summary, names, data).axes
    assert [text.get_text() for text in teacher.texts] == ["missing"]


def test_a_table_has_no_column_of_nothing():
    table = Table(
        ["Name", "A", "B", "C"], "lrrr", [Group(None, [["x", "1", "–", ""], ["y", "", "–", ""]])], [("", 2), ("Of", 2)]
    )
    left = lean(table)
    assert (left.header, left.align, left.spans) == (["Name", "A"], "lr", [("", 2)])
    assert rows(left) == [["x", "1"], ["y", ""]]


def test_a_name_that_the_font_cannot_draw_is_a_number():
    assert class_labels(["cat", "数字", "a name of many letters"], 9) == ["cat", "class 2", "a name o…"]


def test_names_that_are_cut_to_the_same_are_numbers():
    assert class_labels(["a long name", "dog", "a long other"], 7) == ["class 1", "dog", "class 3"]


def test_of_a_long_image_the_part_with_most_objects_is_shown():
    def record(width, height, *boxes):
        n = len(boxes)
        flags = torch.zeros(n, dtype=torch.bool)
        labels, areas = torch.zeros(n, dtype=torch.int64), torch.ones(n, dtype=torch.float64)
        return Record(1, "a.png", width, height, None, None, torch.tensor(boxes), labels, areas, flags, flags)

    assert pictures.window(record(128, 96, [0.0, 0.0, 9.0, 9.0])) == (0, 0, 128, 96)
    tall = record(20, 4000, [0.0, 10.0, 8.0, 18.0], [0.0, 2000.0, 8.0, 2008.0], [9.0, 2010.0, 15.0, 2016.0])
    assert pictures.window(tall) == (0, 1988, 20, 2020)
    assert pictures.cut(tall)
    left, _, right, _ = pictures.window(record(4000, 20, [3990.0, 1.0, 3998.0, 9.0]))
    assert (left, right) == (3940, 4000)


@pytest.mark.parametrize(
    "data",
    [
        fake_study.Data(
            classes=(*(f"{'a name of sixty letters ' * 2}{n:012}" for n in range(3)), "数字", "кошка"), absent=1
        ),
        fake_study.Data(width=20, height=4000),
        fake_study.Data(width=4000, height=20),
    ],
    ids=["names", "tall", "wide"],
)
def test_odd_data_make_a_sound_report(tmp_path, monkeypatch, data):
    enter(tmp_path, monkeypatch)
    fake_study.make(tmp_path, pairs=PAIR, data=data)
    summarize(fake_study.STUDY)
    report(fake_study.STUDY)
    assert len(Page(page().read_text()).all("img")) > 5


@pytest.mark.slow
def test_thirty_recipes_make_a_sound_report(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    fake_study.make(tmp_path, pairs=PAIR, variants=27)
    summarize(fake_study.STUDY)
    report(fake_study.STUDY)
    found = Page(page().read_text())
    assert sum(row[1:2] == ["PKD (pkd_26)"] for row in found.rows) >= 1


def test_boxes_that_were_dropped_or_clipped_are_named(told):
    *_, data = told
    assert setup_prose.faults(data) == (
        "One annotated box was dropped and one annotated box was clipped "
        "(train-00007.png, dropped: no width; train-00011.png, clipped: outside the image)."
    )
    train = data.splits["train"].model_copy(update={"dropped": 7})
    more = setup_prose.faults(data.model_copy(update={"splits": {"train": train}}))
    assert more.startswith("7 annotated boxes were dropped")
    assert more.endswith("; the manifest names more).")
    assert setup_prose.faults(data.model_copy(update={"splits": {"val": data.splits["val"]}})) == ""


def test_images_left_out_are_counted_and_named(told):
    *_, data = told
    gone = [Skipped(image=f"{number}.jpg", reason="truncated") for number in range(6)]
    for count, said in (
        (0, ""),
        (1, "One image that cannot be used was left out (0.jpg: truncated)."),
        (
            6,
            "6 images that cannot be used were left out (0.jpg: truncated; 1.jpg: truncated; 2.jpg: truncated; "
            "3.jpg: truncated; the manifest has the other 2).",
        ),
    ):
        less = data.splits["train"].model_copy(update={"skipped": gone[:count]})
        assert setup_prose.skipped(data.model_copy(update={"splits": {"train": less}})) == said


def test_a_paper_in_parts_is_one_paper():
    shelf = literature.load()
    queries, logits = shelf.paper("detrdistill_queries"), shelf.paper("detrdistill_logits")
    assert queries is logits
    assert shelf.name("detrdistill_logits") == "DETRDistill logits"
    citations = Citations(shelf)
    assert citations.mark("detrdistill_queries") == citations.mark("detrdistill_logits") != citations.mark("kd_detr")
    assert citations.mark("homemade") == ""


def test_every_method_of_the_code_has_a_paper():
    assert "pkd" in taxonomy.implemented()
    shelf = literature.load()
    for method, level in taxonomy.implemented().items():
        paper = shelf.paper(method)
        assert paper is not None, method
        assert level in paper.levels, method


def test_an_unknown_method_is_named_with_its_neighbour():
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

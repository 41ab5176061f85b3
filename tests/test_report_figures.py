"""What the figures of a report show, and that their words stay apart."""

import copy
import itertools

import fake_study
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from detdistill.analysis.matching import Scene
from detdistill.analysis.summarize import summarize
from detdistill.core import paths
from detdistill.core.files import read_json
from detdistill.dataset.records import Record
from detdistill.report import literature
from detdistill.report.figures import cost, curves, detections, gains, labels, pareto, taxonomy
from detdistill.report.figures.students import Student, front
from detdistill.report.figures.style import save
from detdistill.report.names import Names


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        fake_study.make(folder)
        summarize(fake_study.STUDY)
    return folder


@pytest.fixture
def told(root, monkeypatch):
    """The summary, the cost and the names of a study of three pairs and two seeds."""
    monkeypatch.chdir(root)
    summary = read_json(paths.summary(fake_study.STUDY))
    return summary, read_json(paths.summary(fake_study.STUDY).with_name("cost.json")), Names(summary, literature.load())


def test_names_keep_their_order_apart_and_above_the_floor():
    heights = [1.0, 2.0, 1.0, 1.0]
    places = labels.apart([9.0, 8.9, 3.0, 0.1], heights, 0.0)
    assert places[0] == 9.0
    assert places[-1] == 0.5
    gaps = [before - after for before, after in itertools.pairwise(places)]
    assert all(gap >= (one + other) / 2 for gap, (one, other) in zip(gaps, itertools.pairwise(heights), strict=True))


def student(recipe, paid, mean):
    return Student(recipe, "k", 1.0, paid, None, mean, 0.0)


def test_the_front_has_the_students_that_none_beats_in_both():
    students = [student("dear", 9, 40), student("cheap", 1, 30), student("worse", 2, 29), student("better", 3, 50)]
    assert [each.recipe for each in front(students)] == ["cheap", "better"]


def test_a_small_gain_does_not_fill_a_panel(told):
    summary, price, names = told
    for content in summary["pairs"].values():
        for recipe in content["recipes"].values():
            recipe["AP50"] |= {"mean": 0.525, "std": 0.001}
    for axes in cost.draw(summary, price, names).axes:
        low, high = axes.get_ylim()
        assert high - low >= cost.LEAST_SPAN


def test_names_stand_on_the_side_of_the_line_of_plain_training_where_their_recipes_are(told):
    summary, price, names = told
    first = cost.draw(summary, price, names).axes[0]
    side = {text.get_text(): text.get_ha() for text in first.texts}
    assert (side["Mimic"], side["Chen et al."]) == ("right", "left")


@pytest.mark.parametrize("letters", [9, 60])
def test_one_pair_and_thirty_recipes_can_be_drawn(told, monkeypatch, letters):
    summary, price, names = told
    content, costs = summary["pairs"]["retinanet"], price["pairs"]["retinanet"]
    for number in range(30):
        content["recipes"][name := f"{number:0{letters}}"] = copy.deepcopy(content["recipes"]["pkd"])
        costs["recipes"][name] = costs["recipes"]["pkd"]
    summary["pairs"] = {"retinanet": content}
    monkeypatch.setattr(names, "recipe", lambda pair, recipe: recipe)
    figure = cost.draw(summary, price, names)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 30
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_a_longer_schedule_is_no_row_of_the_gains(told):
    summary, _, names = told
    texts = [text.get_text() for text in gains.draw(summary, names, literature.load()).axes[0].texts]
    assert "Mimic, Faster R-CNN" in texts
    assert not any("2×" in text for text in texts)


def test_curves_end_with_the_shortest_schedule(told):
    summary, _, names = told
    for axes in curves.draw(summary, names).axes:
        assert max(max(line.get_xdata()) for line in axes.lines if line.get_zorder() > 1) == fake_study.STEPS


def test_what_a_transformer_trains_at_its_neck_stands_in_its_own_lane(told):
    summary, _, names = told
    (axes,) = taxonomy.draw(summary, names, literature.load()).axes
    lane = next(text.get_position()[1] for text in axes.texts if text.get_text() == "Transformer detectors")
    found = {text.get_text(): text.get_position()[1] < lane for text in axes.texts if text.get_text().startswith("PKD")}
    assert found == {"PKD\u00a0●■": False, "PKD\u00a0◆": True}


def test_nothing_covers_a_right_box_and_a_duplicate_is_not_wrong():
    box, other = [10.0, 10.0, 30.0, 30.0], [60.0, 60.0, 80.0, 80.0]
    flags = torch.zeros(2, dtype=torch.bool)
    truth = torch.tensor([box, other])
    record = Record(1, "a.png", 99, 99, None, None, truth, torch.tensor([0, 1]), torch.ones(2), flags, flags)
    scene = Scene(
        boxes=np.array([box, box, box]),
        scores=np.array([0.9, 0.8, 0.7]),
        labels=np.array([0, 0, 1]),
        classes=np.array([0, 1]),
        areas=np.array([400.0, 400.0]),
        crowd=np.array([False, False]),
        overlap=np.array([[1.0, 0.0]] * 3),
    )
    axes = Figure().subplots()
    detections.mark(axes, scene, record, ["cat", "dog"])
    missed, duplicate, wrong, right = axes.patches
    assert missed.get_xy() == (60.0, 60.0)
    assert duplicate.get_linestyle() == missed.get_linestyle()
    assert wrong.get_linestyle() == right.get_linestyle() != missed.get_linestyle()
    assert duplicate.get_edgecolor() == wrong.get_edgecolor() != right.get_edgecolor()
    assert [text.get_text() for text in axes.texts] == ["dog", "cat"]


@pytest.mark.parametrize("figure", [cost, pareto])
def test_a_figure_has_the_same_bytes_whenever_it_is_drawn(told, tmp_path, figure):
    files = [tmp_path / f"{number}.svg" for number in range(6)]
    for file in files:
        save(file, figure.draw, *told)
    assert len({file.read_bytes() for file in files}) == 1


def test_a_published_gain_says_what_it_is_measured_in():
    shelf = literature.load()
    assert {figure.metric for figure in shelf.figures} == {"AP50", "AP"}
    for figure in shelf.figures:
        _, plain, distilled = figure.AP50 if figure.metric == "AP50" else figure.AP
        assert figure.gain is None or figure.gain == distilled - plain

"""What detections say: AP50 as pycocotools has it, resamples, kinds of mistakes by hand and by tidecv, pictures."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from detdistill.analysis import errors
from detdistill.analysis.contrast import most_changed
from detdistill.analysis.matching import match, scenes
from detdistill.analysis.precision import average_precision, best_threshold, by_class
from detdistill.analysis.sampling import draws, resampled, sampling
from detdistill.dataset.manifest import Split
from detdistill.dataset.records import Record
from detdistill.evaluate.coco import coco_metrics

CLASSES = [str(label) for label in range(4)]
SIZE = 96


def record(objects, crowd=()):
    """One image of (box xyxy, label) objects; `crowd` are the places of those that are one."""
    boxes = torch.tensor([box for box, _ in objects], dtype=torch.float32).reshape(-1, 4)
    flags = torch.tensor([place in crowd for place in range(len(objects))], dtype=torch.bool)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).double()
    labels = torch.tensor([label for _, label in objects], dtype=torch.int64)
    return Record(1, "x.png", SIZE, SIZE, None, None, boxes, labels, areas, flags, torch.zeros_like(flags))


def detections(found):
    """(score, box, label) of one image."""
    return {
        "boxes": torch.tensor([box for _, box, _ in found], dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor([score for score, _, _ in found], dtype=torch.float32),
        "labels": torch.tensor([label for _, _, label in found], dtype=torch.int64),
    }


def invented(images, crowd=0.0, seed=0):
    """Images of random objects, and detections of which a part lies near one."""
    draw = np.random.default_rng(seed)
    records, found = [], []

    def box():
        width, height = draw.uniform(8, 40, 2)
        left, top = draw.uniform(0, SIZE - 40, 2)
        return [left, top, left + width, top + height]

    for image in range(images):
        objects = [(box(), int(draw.integers(len(CLASSES)))) for _ in range(draw.integers(0, 6))]
        crowds = [place for place in range(len(objects)) if draw.random() < crowd]
        records.append(dataclasses.replace(record(objects, crowds), image_id=image + 1))
        rows = []
        for _ in range(draw.integers(0, 25)):
            near, label = box(), int(draw.integers(len(CLASSES)))
            if objects and draw.random() < 0.6:
                near, own = objects[draw.integers(len(objects))]
                near, label = (np.array(near) + draw.normal(0, 3, 4)).tolist(), own if draw.random() < 0.8 else label
            near[2:] = max(near[2], near[0] + 1), max(near[3], near[1] + 1)
            rows.append((draw.random(), near, label))
        found.append(detections(rows))
    return records, found


@pytest.mark.parametrize("crowd", [0.0, 0.15])
def test_ap50_is_that_of_pycocotools(crowd):
    records, found = invented(120, crowd)
    expected, _ = coco_metrics(Split(records, CLASSES, Path()), found)
    matches = match(scenes(records, found), len(CLASSES))
    assert average_precision(matches) == pytest.approx(expected["AP50"], abs=1e-6)
    of_classes = by_class(matches, np.ones((len(records), 1)))[0]
    assert of_classes == pytest.approx([expected["per_class"][name]["AP50"] for name in CLASSES], abs=1e-6)


@pytest.mark.parametrize(("sizes", "name"), [((0.0, 32.0**2), "AP_small"), ((32.0**2, 96.0**2), "AP_medium")])
def test_ap_by_size_is_that_of_pycocotools(sizes, name):
    records, found = invented(120, 0.1)
    # With boxes that are exact or apart, AP50 is AP over all thresholds.
    exact = []
    for each, rows in zip(records, found, strict=True):
        near = [
            (0.5 + 0.01 * place, box, label)
            for place, (box, label) in enumerate(zip(each.boxes.tolist(), each.labels.tolist(), strict=True))
        ]
        exact.append(detections(near[::2] + [(0.9, [0.0, 0.0, 2.0, 2.0], 1)] * (len(rows["scores"]) % 3)))
    expected, _ = coco_metrics(Split(records, CLASSES, Path()), exact)
    assert average_precision(match(scenes(records, exact), len(CLASSES), sizes)) == pytest.approx(
        expected[name], abs=1e-6
    )


def test_an_image_drawn_twice_counts_as_two_images():
    records, found = invented(40)
    times = np.random.default_rng(1).integers(0, 3, len(records))
    repeated = [image for image, count in enumerate(times) for _ in range(count)]
    images = [dataclasses.replace(records[image], image_id=place) for place, image in enumerate(repeated, 1)]
    expected, _ = coco_metrics(Split(images, CLASSES, Path()), [found[image] for image in repeated])
    weighted = resampled(match(scenes(records, found), len(CLASSES)), times[:, None].astype(float))
    assert weighted[0] == pytest.approx(expected["AP50"], abs=1e-6)


def test_resamples_repeat_and_keep_the_number_of_images():
    weights = draws(30, 50)
    assert (weights.sum(axis=0) == 30).all()
    assert (weights == draws(30, 50)).all()


def test_a_difference_is_taken_over_the_same_resamples():
    noise = np.random.default_rng(0).normal(0.5, 0.1, 1000)
    found = sampling({"0": noise + 0.03, "1": noise + 0.01}, {"0": noise})
    assert (found["error"], found["low"]) == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.02))
    assert sampling({}, {"0": noise}) is None


BOX = [10.0, 10.0, 30.0, 30.0]
SHIFTED = [20.0, 10.0, 40.0, 30.0]  # an overlap of 1 / 3
APART = [60.0, 60.0, 80.0, 80.0]


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ([(0.9, BOX, 1)], "classification"),
        ([(0.9, SHIFTED, 0)], "localisation"),
        ([(0.9, SHIFTED, 1)], "both"),
        ([], "missed"),
    ],
)
def test_one_mistake_about_one_object_costs_all_of_its_ap(found, kind):
    lost = errors.costs(scenes([record([(BOX, 0)])], [detections(found)]), len(CLASSES))
    # Without the object nothing is left to find, so a miss alone gains nothing where it is the only object.
    expected = 0.0 if kind == "missed" else 1.0 if kind in ("classification", "localisation") else 0.0
    assert lost[kind] == pytest.approx(expected)
    assert sum(lost.values()) == pytest.approx(expected)


@pytest.mark.parametrize(("box", "kind"), [(BOX, "duplicate"), (APART, "background")])
def test_a_false_alarm_above_the_second_of_two_objects_by_hand(box, kind):
    # Right at 0.9, wrong at 0.8, right at 0.7: precision 1 up to recall 1/2, then 2/3. AP = (51 + 50 * 2/3) / 101.
    objects = [(BOX, 0), ([40.0, 10.0, 55.0, 30.0], 0)]
    found = [(0.9, BOX, 0), (0.8, box, 0), (0.7, objects[1][0], 0)]
    lost = errors.costs(scenes([record(objects)], [detections(found)]), len(CLASSES))
    assert lost[kind] == pytest.approx(1 - (51 + 50 * 2 / 3) / 101)
    assert sum(lost.values()) == pytest.approx(lost[kind])


def test_a_missed_object_of_two_by_hand():
    # One of two found: recall 1/2 at precision 1, AP = 51 / 101; without the missed one, 1.
    lost = errors.costs(scenes([record([(BOX, 0), (APART, 0)])], [detections([(0.9, BOX, 0)])]), len(CLASSES))
    assert lost["missed"] == pytest.approx(50 / 101)


def test_of_two_mistakes_about_one_object_the_better_scored_is_mended():
    found = [(0.9, SHIFTED, 0), (0.8, [0.0, 10.0, 20.0, 30.0], 0)]
    lost = errors.costs(scenes([record([(BOX, 0)])], [detections(found)]), len(CLASSES))
    assert lost["localisation"] == pytest.approx(1.0)


def test_kinds_of_mistakes_cost_what_tidecv_says():
    # What tidecv 1.0.1 prints for these detections, in points.
    theirs = {
        "classification": 2.379,
        "localisation": 7.650,
        "both": 2.575,
        "duplicate": 1.649,
        "background": 8.740,
        "missed": 4.084,
    }
    records, found = invented(200)
    images = scenes(records, found)
    assert average_precision(match(images, len(CLASSES))) == pytest.approx(0.19605, abs=1e-5)
    lost = errors.costs(images, len(CLASSES))
    assert {kind: 100 * value for kind, value in lost.items()} == pytest.approx(theirs, abs=0.1)


def test_the_threshold_is_where_f1_is_highest():
    objects = [(BOX, 0), (APART, 0)]
    # F1 after each: 2/3, 2/4, 4/5, 4/6.
    rows = [(0.9, BOX, 0), (0.8, BOX, 1), (0.7, APART, 0), (0.6, BOX, 2)]
    assert best_threshold(match(scenes([record(objects)], [detections(rows)]), 4)) == pytest.approx(0.7)
    assert best_threshold(match(scenes([record(objects)], [detections([])]), 4)) == 1.0


def test_pictures_show_the_largest_change_both_ways():
    objects = [record([(BOX, 0), (APART, 0)])] * 4
    nothing, one, both = [], [(0.9, BOX, 0)], [(0.9, BOX, 0), (0.9, APART, 0)]
    plain = scenes(objects, [detections(each) for each in (one, both, nothing, one)])
    distilled = scenes(objects, [detections(each) for each in (one, nothing, both, both)])
    assert most_changed(plain, distilled, 3) == [2, 1, 3]
    assert len(most_changed(plain, distilled, 9)) == 4

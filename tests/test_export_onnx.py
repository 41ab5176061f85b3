"""ONNX Runtime finds what we find, in batches of any number."""

from __future__ import annotations

from pathlib import Path

import exported
import numpy as np
import pytest
import tiny
import torch

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.detectors.base import Detections
from detdistill.export import export
from detdistill.export.onnx import FILE, check, graph
from detdistill.export.onnx.nms import kept

IMAGES = 100


def test_another_engine_has_no_graph() -> None:
    with pytest.raises(UserError, match="models of detectron2 have no graph here"):
        check("detectron2")


def agree(found: tuple[np.ndarray, ...], expected: Detections) -> None:
    """The same detections of one image, those of nearly equal scores in any order, the last of them in any choice."""
    boxes, scores, labels = found
    count = int((scores > 0).sum())
    assert count == len(expected["scores"])
    left = list(range(count))
    for box, score, label in zip(*(expected[name].numpy() for name in ("boxes", "scores", "labels")), strict=True):
        own = [
            row
            for row in left
            if labels[row] == label and abs(scores[row] - score) < 1e-4 and np.abs(boxes[row] - box).max() < 0.01
        ]
        if own:
            left.remove(own[0])
        else:
            assert score - float(expected["scores"].min()) < 1e-4, (box, score, label)


def test_the_operator_is_suppression_within_image_and_class():
    boxes = torch.tensor(
        [[[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [0.0, 0.0, 9.0, 10.0]]]
    )
    scores = torch.tensor([[[0.9, 0.8, 0.7, 0.0], [0.0, 0.8, 0.0, 0.9]]])
    expected = [[[True, False, True, False], [False, False, False, True]]]
    assert kept(boxes, scores, 0.5).tolist() == expected


@pytest.mark.parametrize("family", ["faster_rcnn", "retinanet", "gfl"])
def test_the_graph_is_torchvisions_own_inference(tmp_path, monkeypatch, family):
    detector = exported.project(tmp_path, monkeypatch, "torchvision", family)
    images = tiny.batch(3, size=(70, 101))[0]  # no multiples of the strides
    with torch.no_grad():
        expected = [detector.predict([image])[0] for image in images]
        found = graph(detector)(torch.stack(images))
    assert all(len(each["scores"]) > 5 for each in expected)
    for index, each in enumerate(expected):
        agree(tuple(tensor[index].numpy() for tensor in found), each)


EVERY_PLACE = {"queries": 320, "detections": 50}
"""Every place of 64 x 64 pixels is a query of RT-DETR: an untrained one would choose among near ties, by last bits."""
CASES = [
    ("torchvision", "faster_rcnn"),
    pytest.param("torchvision", "retinanet", marks=pytest.mark.slow),
    pytest.param("transformers", "rt_detr", marks=pytest.mark.slow),
    pytest.param("torchvision", "gfl", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("engine", "family"), CASES)
def test_onnx_runtime_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, family: str) -> None:
    pytest.importorskip("onnxscript", reason="the exporter's onnxscript is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    changes = EVERY_PLACE if family == "rt_detr" else {}
    detector = exported.project(tmp_path, monkeypatch, engine, family, images=IMAGES, **changes)
    export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, tmp_path / "out", ["onnx"])
    session = onnxruntime.InferenceSession(tmp_path / "out" / FILE)
    images = torch.stack(exported.images()).numpy()
    whole = [session.run(None, {"images": images[start : start + 20]}) for start in range(0, IMAGES, 20)]
    boxes, scores, labels = (np.concatenate(parts) for parts in zip(*whole, strict=True))
    ours = exported.ours(detector)
    for index, expected in enumerate(ours):
        assert len(expected["scores"])
        agree((boxes[index], scores[index], labels[index]), expected)
    [alone] = [session.run(None, {"images": images[:1]})]
    agree(tuple(each[0] for each in alone), ours[0])
    size = (32, 128) if family == "rt_detr" else (75, 101)
    other = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    found = session.run(None, {"images": other.numpy()})
    for index in range(2):
        with torch.no_grad():
            agree(tuple(each[index] for each in found), detector.predict([other[index]])[0])


def test_a_family_whose_graph_would_be_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript", reason="the exporter's onnxscript is not installed")
    exported.project(tmp_path, monkeypatch, "transformers", "deformable_detr")
    with pytest.raises(UserError, match=r"--format onnx: of DeformableDetrDetector .* an invalid graph"):
        export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, tmp_path / "out", ["onnx"])
    assert not (tmp_path / "out").exists()

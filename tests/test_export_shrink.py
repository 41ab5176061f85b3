"""Models of shrunk images, given photographs as they came: detections are those in the shrunk images, scaled."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import exported
import numpy as np
import pytest
import small_data
import torch
import yaml
from PIL import Image

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import json_bytes
from detdistill.core.record import _seal
from detdistill.detect import detect
from detdistill.detectors.base import Detections
from detdistill.evaluate.step import evaluate
from detdistill.export import card, export
from detdistill.export.folder import load
from detdistill.export.shrink import predict, shrunk

EVEN, ODD = 96, 77
"""Longest sides: 96 x 72, whole multiples of every stride, and 77 x 58."""
EVERY_PLACE = {"queries": 48, "detections": 50}
"""Every place of the shrunk image is a query of RT-DETR, so that an untrained one chooses by no last bit."""


@pytest.fixture
def model(tmp_path, monkeypatch, request):
    """The detector of an exported model in `out`."""
    engine, family, longest, *changes = request.param
    detector = exported.project(tmp_path, monkeypatch, engine, family, resize=longest, **dict(*changes))
    export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, Path("out"))
    return detector


def expected(detector: Any) -> list[Detections]:
    """What it finds in the images of the study, in pixels of the photographs."""
    records, found = exported.split().records, exported.ours(detector)
    assert all(len(each["scores"]) for each in found)
    sides = [(small_data.WIDTH / record.width, small_data.HEIGHT / record.height) for record in records]
    return [
        each | {"boxes": each["boxes"] * torch.tensor([*side, *side])} for each, side in zip(found, sides, strict=True)
    ]


def agree(found: Any, ours: Detections, pixels: float, scores: float, label_offset: int = 0) -> None:
    """Most of ours are found, boxes within so many pixels and scores as near; untrained models have many near ties."""
    found = [torch.as_tensor(each) for each in found]
    same = [
        bool(
            ((found[0] - box).abs().amax(1) < pixels)[
                (found[2] == label + label_offset) & ((found[1] - score).abs() < scores)
            ].any()
        )
        for box, score, label in zip(ours["boxes"], ours["scores"], ours["labels"], strict=True)
    ]
    assert sum(same) >= 0.8 * len(same), f"{sum(same)} of {len(same)}"


@pytest.mark.parametrize("longest", [EVEN, ODD, small_data.WIDTH, 500])
def test_the_rule_is_the_data_steps_to_the_last_bit(tmp_path, monkeypatch, longest):
    exported.project(tmp_path, monkeypatch, "torchvision", "gfl", resize=longest)
    for index, file in enumerate(exported.photographs()):
        photo = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
        assert torch.equal(shrunk(photo, longest), exported.split().image(index))


def test_what_is_very_long_keeps_a_pixel():
    assert shrunk(torch.zeros(3, 2, 5000, dtype=torch.uint8), 64).shape == (3, 1, 64)


@pytest.mark.parametrize(
    "model", [("torchvision", "faster_rcnn", ODD), ("transformers", "rt_detr", ODD)], indirect=True
)
def test_detect_finds_in_photographs_what_the_study_finds(model):
    found = detect(Path("out"), exported.photographs(), Path("drawn"), threshold=0.0, batch=1)
    for image, ours in zip(found.images, expected(model), strict=True):
        rows = [each for each in found.annotations if each["image_id"] == image["id"]]
        assert (image["width"], image["height"]) == (small_data.WIDTH, small_data.HEIGHT)
        corners = torch.tensor([each["bbox"] for each in rows])
        corners[:, 2:] += corners[:, :2]
        assert torch.allclose(corners, ours["boxes"], atol=1e-3)
        assert torch.equal(torch.tensor([each["score"] for each in rows]), ours["scores"])
        assert Image.open(Path("drawn", f"{Path(image['file_name']).stem}.png")).size == (
            3 * small_data.WIDTH,
            3 * small_data.HEIGHT,
        )


@pytest.mark.parametrize("model", [("torchvision", "retinanet", EVEN)], indirect=True)
def test_images_that_need_no_shrinking_are_taken_as_they_are(model):
    images = [exported.split().image(index) for index in range(len(exported.split()))]
    for image, ours in zip(images, exported.ours(model), strict=True):
        [found] = predict(model, [image], EVEN)
        assert all(torch.equal(found[name], ours[name]) for name in ours)


@pytest.mark.parametrize("model", [("torchvision", "faster_rcnn", ODD)], indirect=True)
def test_the_card_says_it(model):
    evaluate(exported.STUDY, exported.PAIR, paths.TEACHER, 0)
    export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, Path("evaluated"))
    assert load(Path("evaluated"))[1].resize == ODD
    assert f"trained on images of {ODD} pixels at most" in Path("evaluated", card.README).read_text()


@pytest.mark.parametrize("model", [("torchvision", "faster_rcnn", ODD)], indirect=True)
def test_a_card_of_before_shrinks_nothing(model):
    file = Path("out", card.CARD)
    content = json.loads(file.read_text())
    del content["resize"], content["seal"]
    file.write_bytes(json_bytes(content | {"seal": _seal(content)}))
    assert load(Path("out"))[1].resize is None


@pytest.mark.parametrize("said", [None, ODD - 30])
def test_a_value_that_the_images_do_not_have_is_refused(tmp_path, monkeypatch, said):
    exported.project(tmp_path, monkeypatch, "torchvision", "faster_rcnn", resize=ODD)
    file = paths.params(exported.STUDY, "data")
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"resize": said}))
    with pytest.raises(UserError, match=f"data.yaml: resize: {said}, but the images were made with another value"):
        export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, Path("out"))


class TestPrograms:
    """Those in the cards, run as they stand there, on a photograph as it came."""

    def run(self, monkeypatch: pytest.MonkeyPatch, program: str, photograph: Path) -> dict[str, Any]:
        Image.open(photograph).save("out/image.png")
        monkeypatch.syspath_prepend(Path("out").resolve())
        monkeypatch.delitem(sys.modules, "load", raising=False)
        said: dict[str, Any] = {}
        with monkeypatch.context() as inside:
            inside.chdir("out")
            with torch.no_grad():
                exec(program, said)
        return said

    @pytest.mark.parametrize(
        "model", [("torchvision", "faster_rcnn", ODD), ("torchvision", "retinanet", EVEN)], indirect=True
    )
    def test_torchvision(self, model, monkeypatch):
        [program] = exported.told(Path("out"))
        for photograph, ours in zip(exported.photographs(), expected(model), strict=True):
            found = self.run(monkeypatch, program, photograph)["found"]
            agree((found["boxes"], found["scores"], found["labels"]), ours, 1.0, 0.01, model.label_offset)

    @pytest.mark.parametrize("model", [("torchvision", "faster_rcnn", ODD)], indirect=True)
    def test_torchvision_on_images_that_need_no_shrinking(self, model, monkeypatch):
        [program] = exported.told(Path("out"))
        for record, ours in zip(exported.split().records, exported.ours(model), strict=True):
            file = paths.data(exported.STUDY, "images") / record.file_name
            found = self.run(monkeypatch, program, file)["found"]
            assert torch.equal(found["boxes"], ours["boxes"])
            assert torch.equal(found["scores"], ours["scores"])

    @pytest.mark.parametrize("model", [("torchvision", "gfl", ODD)], indirect=True)
    def test_this_package(self, model, monkeypatch):
        [program] = exported.told(Path("out"))
        for photograph, ours in zip(exported.photographs(), expected(model), strict=True):
            found = self.run(monkeypatch, program, photograph)["found"]
            assert torch.equal(found["scores"], ours["scores"])
            assert torch.allclose(found["boxes"], ours["boxes"], atol=1e-3)

    @pytest.mark.parametrize(
        "model",
        [("transformers", "rt_detr", EVEN, EVERY_PLACE), ("transformers", "deformable_detr", EVEN)],
        indirect=True,
    )
    def test_transformers_pipeline(self, model):
        from transformers import pipeline

        find = pipeline("object-detection", model="out", trust_remote_code=True)
        for photograph, ours in zip(exported.photographs(), expected(model), strict=True):
            found = find(str(photograph), threshold=0.0)
            agree(self.of_pipeline(found), ours, 2.0, 0.01)  # its boxes are in whole pixels
        for record, ours in zip(exported.split().records, exported.ours(model), strict=True):
            found = find(str(paths.data(exported.STUDY, "images") / record.file_name), threshold=0.0)
            agree(self.of_pipeline(found), ours, 1.001, 1e-5)

    def of_pipeline(self, found: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        boxes = torch.tensor([list(each["box"].values()) for each in found])
        labels = torch.tensor([small_data.CLASSES.index(each["label"]) for each in found])
        return boxes, torch.tensor([each["score"] for each in found]), labels

    @pytest.mark.parametrize(
        "model",
        [("transformers", "rt_detr", ODD, EVERY_PLACE), ("transformers", "deformable_detr", ODD)],
        indirect=True,
    )
    def test_transformers_lines(self, model, monkeypatch):
        _, program = exported.told(Path("out"))
        for photograph, ours in zip(exported.photographs(), expected(model), strict=True):
            found = self.run(monkeypatch, program.replace("outputs, 0.5", "outputs, 0.0"), photograph)["found"]
            agree((found["boxes"], found["scores"], found["labels"]), ours, 0.01, 1e-5)

    def test_onnx(self, tmp_path, monkeypatch):
        pytest.importorskip("onnxscript", reason="the exporter's onnxscript is not installed")
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
        detector = exported.project(tmp_path, monkeypatch, "torchvision", "faster_rcnn", resize=ODD)
        export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, Path("out"), ["onnx"])
        _, program = exported.told(Path("out"))
        for photograph, ours in zip(exported.photographs(), expected(detector), strict=True):
            found = self.run(monkeypatch, program, photograph)
            agree((found["boxes"][0], found["scores"][0], found["labels"][0]), ours, 0.02, 1e-4)

    @pytest.mark.parametrize(
        "model",
        [
            ("detectron2", "faster_rcnn", ODD, {"width": 64, "neck_channels": 16}),
            ("detectron2", "faster_rcnn", ODD, {"width": 64, "input": {"short_edges": [64], "test_short_edge": 96}}),
            ("detectron2", "retinanet", ODD),
            ("detectron2", "fcos", ODD, {"input": {"short_edges": [64], "test_short_edge": 96}}),
            ("detectron2", "gfl", ODD),
        ],
        indirect=True,
    )
    def test_detectron2(self, model, monkeypatch):
        read = SimpleNamespace(imread=lambda name: np.array(Image.open(name))[:, :, ::-1])
        monkeypatch.setitem(sys.modules, "cv2", read)
        [program] = exported.told(Path("out"))
        small = [paths.data(exported.STUDY, "images") / each.file_name for each in exported.split().records]
        given = [
            *zip(exported.photographs(), expected(model), strict=True),
            *zip(small, exported.ours(model), strict=True),
        ]
        for image, ours in given:
            found = self.run(monkeypatch, program, image)["found"]
            found = found.get("instances", found) if isinstance(found, dict) else found
            own = isinstance(found, dict)
            boxes, scores = (found["boxes"], found["scores"]) if own else (found.pred_boxes.tensor, found.scores)
            assert torch.equal(scores, ours["scores"])
            assert torch.allclose(boxes, ours["boxes"], atol=1e-3)

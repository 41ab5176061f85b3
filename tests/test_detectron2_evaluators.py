"""Detectron2's own evaluators find what ours find, on the same predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import native
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

from detdistill.dataset.manifest import Split
from detdistill.dataset.records import Record
from detdistill.evaluate.coco import coco_metrics
from detdistill.evaluate.predict import as_float, predict
from detdistill.evaluate.voc import voc_metrics

pytest.importorskip("detectron2", reason="the engine detectron2 is not installed")

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, PascalVOCDetectionEvaluator
from detectron2.structures import Boxes, Instances


def split_and_predictions(images: int = 12) -> tuple[Split, list[dict[str, Tensor]]]:
    """Objects in whole pixels and detections near them, with scores of three and boxes of one decimal: no ties."""
    generator = torch.Generator().manual_seed(4)
    scores = (torch.randperm(900, generator=generator) + 50).tolist()
    records, predictions = [], []
    for number in range(1, images + 1):
        count = 1 + number % 3
        corners = torch.randint(0, 60, (count, 2), generator=generator)
        boxes = torch.cat([corners, corners + torch.randint(20, 60, (count, 2), generator=generator)], 1).float()
        labels = torch.arange(count) % 2
        flags = torch.zeros(count, dtype=torch.bool)
        difficult = flags.clone()
        difficult[0] = number % 5 == 0
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1).double()
        file = {"image_id": number, "file_name": f"{number}.png", "width": 128, "height": 128}
        objects = {"boxes": boxes, "labels": labels, "areas": areas, "iscrowd": flags, "difficult": difficult}
        records.append(Record(**file, sha256=None, file_sha256=None, **objects))
        noise = torch.randint(-90, 90, boxes.shape, generator=generator) / 10
        found = torch.cat([boxes + noise, boxes[:1] + 3.5])
        values = torch.tensor([scores.pop() / 1000 for _ in found])
        order = values.argsort(descending=True)
        classes = torch.cat([labels, labels[:1]])
        predictions.append({"boxes": found[order], "scores": values[order], "labels": classes[order]})
    return Split(records, ["cat", "dog"], Path("nowhere")), predictions


def images_of_mixed_sizes(folder: Path) -> Split:
    """Fifteen noisy images of three sizes in turn, without objects."""
    generator = torch.Generator().manual_seed(7)
    records = []
    for number in range(1, 16):
        height, width = ((64, 96), (96, 64), (80, 80))[number % 3]
        pixels = torch.randint(256, (height, width, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
        file = {"image_id": number, "file_name": f"{number}.png", "width": width, "height": height}
        records.append(Record(**file, sha256=None, file_sha256=None, **objects(torch.zeros(0, 4), torch.zeros(0))))
    return Split(records, ["a", "b", "c"], folder)


def objects(boxes: Tensor, labels: Tensor) -> dict[str, Tensor]:
    flags = torch.zeros(len(boxes), dtype=torch.bool)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1).double()
    return {"boxes": boxes, "labels": labels.long(), "areas": areas, "iscrowd": flags, "difficult": flags}


def evaluated(evaluator: Any, split: Split, predictions: list[dict[str, Tensor]], names: list[Any]) -> dict[str, float]:
    evaluator.reset()
    for name, found in zip(names, predictions, strict=True):
        instances = Instances((128, 128), pred_boxes=Boxes(found["boxes"]), scores=found["scores"])
        instances.pred_classes = found["labels"]
        evaluator.process([{"image_id": name}], [{"instances": instances}])
    return evaluator.evaluate()["bbox"]


class TestEvaluators:
    def test_images_of_mixed_sizes_in_batches_are_what_its_model_finds_one_by_one(self, tmp_path: Path) -> None:
        detector = tiny.detector("faster_rcnn", engine="detectron2").eval()
        split = images_of_mixed_sizes(tmp_path)
        with torch.no_grad():
            inputs = [detector.native([as_float(split.image(index))])[0] for index in range(len(split))]
            found = [detector.model([each])[0]["instances"] for each in inputs]
        one_by_one = [{"boxes": f.pred_boxes.tensor, "scores": f.scores, "labels": f.pred_classes} for f in found]
        # The objects are the second half of what is found, so that a precision lies between 0 and 1.
        split.records = [
            replace(record, **objects(each["boxes"][1::2].round(), each["labels"][1::2]))
            for record, each in zip(split.records, one_by_one, strict=True)
        ]
        name = f"mixed {tmp_path}"
        DatasetCatalog.register(name, lambda: native.detectron2_dicts(split, tmp_path))
        MetadataCatalog.get(name).set(thing_classes=split.classes)
        evaluator = COCOEvaluator(name, tasks=("bbox",), distributed=False, output_dir=str(tmp_path))
        theirs = evaluated(evaluator, split, one_by_one, [each.image_id for each in split.records])
        ours, _ = coco_metrics(split, predict(detector, split, 16))
        assert 0.1 < ours["AP50"] < 0.9
        for key in ("AP", "AP50", "AP75"):
            assert 100 * ours[key] == pytest.approx(theirs[key], abs=1e-9), key

    def test_coco(self, tmp_path: Path) -> None:
        split, predictions = split_and_predictions()
        name = f"coco {tmp_path}"
        DatasetCatalog.register(name, lambda: native.detectron2_dicts(split, tmp_path))
        MetadataCatalog.get(name).set(thing_classes=split.classes)
        evaluator = COCOEvaluator(name, tasks=("bbox",), distributed=False, output_dir=str(tmp_path))
        theirs = evaluated(evaluator, split, predictions, [each.image_id for each in split.records])
        ours, _ = coco_metrics(split, predictions)
        assert 0.1 < ours["AP"] < 0.9
        for key, other in {"AP": "AP", "AP50": "AP50", "AP75": "AP75", "AP_medium": "APm"}.items():
            assert 100 * ours[key] == pytest.approx(theirs[other], abs=1e-9), key
        for label in split.classes:
            assert 100 * ours["per_class"][label]["AP"] == pytest.approx(theirs[f"AP-{label}"], abs=1e-9)

    @pytest.mark.parametrize(("year", "ours"), [(2007, "AP50_11point"), (2012, "AP50_area")])
    def test_voc(self, tmp_path: Path, year: int, ours: str) -> None:
        split, predictions = split_and_predictions()
        for folder in ("Annotations", "ImageSets/Main"):
            (tmp_path / folder).mkdir(parents=True)
        names = [str(each.image_id) for each in split.records]
        (tmp_path / "ImageSets/Main/test.txt").write_text("\n".join(names))
        for name, each in zip(names, split.records, strict=True):
            rows = zip(each.boxes.int().tolist(), each.labels.tolist(), each.difficult.int().tolist(), strict=True)
            objects = "".join(
                f"<object><name>{split.classes[label]}</name><pose/><truncated>0</truncated>"
                f"<difficult>{hard}</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
                f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
                for (x0, y0, x1, y1), label, hard in rows
            )
            (tmp_path / f"Annotations/{name}.xml").write_text(f"<annotation>{objects}</annotation>")
        catalog = f"voc {tmp_path}"
        MetadataCatalog.get(catalog).set(dirname=str(tmp_path), split="test", year=year, thing_classes=split.classes)
        theirs = evaluated(PascalVOCDetectionEvaluator(catalog), split, predictions, names)
        found, _ = voc_metrics(split, predictions)
        assert 0.1 < found[ours] < 1
        assert 100 * found[ours] == pytest.approx(theirs["AP50"], abs=1e-9)

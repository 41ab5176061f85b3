"""How each engine's own users call its detectors: what the conformance tests hold ours against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detdistill.dataset.manifest import Split
from detdistill.detectors.base import Detections, Detector, Target

MEAN, STD = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]


def torchvision_losses(detector: Detector, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
    offset = 1 if detector.background == "softmax" else 0
    return detector.model(images, [{**target, "labels": target["labels"] + offset} for target in targets])


def torchvision_predictions(detector: Detector, images: list[Tensor]) -> list[Detections]:
    offset = 1 if detector.background == "softmax" else 0
    return [{**found, "labels": found["labels"] - offset} for found in detector.model(images)]


def transformers_inputs(images: list[Tensor]) -> dict[str, Tensor]:
    """Images normalised and padded to strides of 8, and the mask of what is no padding."""
    height, width = (-(-max(image.shape[side] for image in images) // 8) * 8 for side in (1, 2))
    values, mask = torch.zeros(len(images), 3, height, width), torch.zeros(len(images), height, width, dtype=torch.long)
    for index, image in enumerate(images):
        h, w = image.shape[1:]
        values[index, :, :h, :w] = (image - MEAN) / STD
        mask[index, :h, :w] = 1
    return {"pixel_values": values, "pixel_mask": mask}


def transformers_sizes(detector: Detector, images: list[Tensor]) -> list[tuple[int, ...]]:
    """(H, W) that boxes are relative to: Deformable DETR masks padding, RT-DETR does not."""
    padded = tuple(transformers_inputs(images)["pixel_values"].shape[-2:])
    masks = detector.model.config.model_type == "deformable_detr"
    return [tuple(image.shape[1:]) if masks else padded for image in images]


def transformers_losses(detector: Detector, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
    """The one number that the engine trains on."""
    labels = []
    for target, (height, width) in zip(targets, transformers_sizes(detector, images), strict=True):
        x0, y0, x1, y1 = target["boxes"].unbind(1)
        boxes = torch.stack([(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height], 1)
        labels.append({"class_labels": target["labels"], "boxes": boxes})
    return {"sum": detector.model(**transformers_inputs(images), labels=labels).loss}


def transformers_predictions(detector: Detector, images: list[Tensor]) -> list[Detections]:
    from transformers import DeformableDetrImageProcessor, RTDetrImageProcessor

    outputs = detector.model(**transformers_inputs(images))
    sizes = transformers_sizes(detector, images)
    if detector.model.config.model_type == "rt_detr":
        return RTDetrImageProcessor().post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
    return DeformableDetrImageProcessor().post_process_object_detection(
        outputs, threshold=0.0, target_sizes=sizes, top_k=detector.detections
    )


def detectron2_inputs(images: list[Tensor], targets: list[Target] | None = None) -> list[dict[str, Any]]:
    """BGR in 0..255, as Detectron2 reads images."""
    from detectron2.structures import Boxes, Instances

    inputs: list[dict[str, Any]] = [{"image": 255 * image[[2, 1, 0]]} for image in images]
    for each, target in zip(inputs, targets or []):  # noqa: B905
        each["instances"] = Instances(each["image"].shape[1:])
        each["instances"].gt_boxes, each["instances"].gt_classes = Boxes(target["boxes"]), target["labels"]
    return inputs


def detectron2_dicts(split: Split, folder: Path) -> list[dict[str, Any]]:
    """The images of a split, below the folder, as a data set that Detectron2's catalog registers."""
    from detectron2.structures import BoxMode

    return [
        {
            "file_name": str(folder / record.file_name),
            "image_id": record.image_id,
            "height": record.height,
            "width": record.width,
            "annotations": [
                {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label}
                for box, label in zip(record.boxes.tolist(), record.labels.tolist(), strict=True)
            ],
        }
        for record in split.records
    ]


def detectron2_losses(detector: Detector, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
    from detectron2.utils.events import EventStorage

    with EventStorage():
        return detector.model(detectron2_inputs(images, targets))


def detectron2_predictions(detector: Detector, images: list[Tensor]) -> list[Detections]:
    found = [each["instances"] for each in detector.model(detectron2_inputs(images))]
    return [{"boxes": f.pred_boxes.tensor, "scores": f.scores, "labels": f.pred_classes} for f in found]


LOSSES: dict[str, Callable[[Any, list[Tensor], list[Target]], dict[str, Tensor]]] = {
    "detectron2": detectron2_losses,
    "torchvision": torchvision_losses,
    "transformers": transformers_losses,
}
PREDICTIONS: dict[str, Callable[[Any, list[Tensor]], list[Detections]]] = {
    "detectron2": detectron2_predictions,
    "torchvision": torchvision_predictions,
    "transformers": transformers_predictions,
}

"""Resizing and mirroring against Detectron2's own mapper, which is told what we drew."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("detectron2", reason="the engine detectron2 is not installed")

from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

detector_of = partial(tiny.detector, engine="detectron2")


class TestImages:
    INPUT = {"short_edges": [80, 100], "test_short_edge": 90, "max_size": 140}

    def sample(self) -> tuple[Tensor, dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(1)
        image = torch.randint(0, 256, (3, 60, 100), generator=generator, dtype=torch.uint8)
        boxes = torch.tensor([[10.0, 5, 40, 30], [-5, 20, 20, 70], [99.9999999, 10, 130, 20]])
        target = {"boxes": boxes, "labels": torch.tensor([2, 0, 1]), "image_id": torch.tensor(7)}
        return image, target | {"iscrowd": torch.tensor([False, True, False])}

    def test_a_sample_is_what_detectron2s_mapper_makes_of_it(self, tmp_path: Path) -> None:
        detector = detector_of("faster_rcnn", input=self.INPUT)
        image, target = self.sample()
        file = tmp_path / "image.png"
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
        seen = set()
        for seed in range(12):
            sized, moved = detector.augment(image, target, torch.Generator().manual_seed(seed))
            mirrored = not torch.equal(
                sized, detector_of("faster_rcnn", input=self.INPUT | {"flip": False}).augment(
                    image, target, torch.Generator().manual_seed(seed))[0]
            )  # fmt: skip
            edge = 80 if sized.shape[1] == 80 else 100
            seen.add((edge, mirrored))
            augmentations = [T.ResizeShortestEdge([edge], 140, "choice"), T.RandomFlip(prob=float(mirrored))]
            mapper = DatasetMapper(is_train=True, augmentations=augmentations, image_format="RGB")
            annotations = [
                {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label}
                for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True)
            ]
            native = mapper({"file_name": str(file), "height": 60, "width": 100, "annotations": annotations})
            assert torch.equal(sized, native["image"])
            torch.testing.assert_close(moved["boxes"], native["instances"].gt_boxes.tensor)
            assert moved["labels"].tolist() == native["instances"].gt_classes.tolist() == [2, 0]
            assert moved["iscrowd"].tolist() == [False, True]
        assert {mirrored for _, mirrored in seen} == {False, True}
        assert len({edge for edge, _ in seen}) == 2

    def test_without_a_recipe_images_stay_as_they_are(self) -> None:
        image, target = self.sample()
        found = detector_of("faster_rcnn").augment(image, target, torch.Generator())
        assert found[0] is image
        assert found[1] is target

    def test_detections_are_in_pixels_of_the_image_as_it_came(self) -> None:
        detector = detector_of("faster_rcnn", input=self.INPUT).eval()
        image, _ = self.sample()
        height, width = T.ResizeShortestEdge.get_output_shape(60, 100, 90, 140)
        pixels = T.ResizeTransform(60, 100, height, width).apply_image(image.permute(1, 2, 0).numpy()[..., ::-1].copy())
        native = {"image": torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32)), "height": 60, "width": 100}
        with torch.no_grad():
            (found,), (expected,) = detector.predict([image / 255]), detector.model([native])
        assert len(found["boxes"]) > 0
        assert torch.equal(found["boxes"], expected["instances"].pred_boxes.tensor)
        assert torch.equal(found["scores"], expected["instances"].scores)

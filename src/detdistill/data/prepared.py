"""What every reader writes: a folder of images, one COCO file a split and, last of all, a manifest with a digest."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from detdistill import paths
from detdistill.files import explained, json_bytes, write_atomic, write_json

Box = tuple[float, float, float, float]  # x, y, width, height in pixels


class Annotations:
    """The COCO file of one split, image after image. Ids count from 1; `classes` are in label order."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._coco: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": label + 1, "name": name} for label, name in enumerate(classes)],
        }

    def add(self, file_name: str, pixels: np.ndarray, boxes: Sequence[Box], labels: Sequence[int]) -> None:
        """One image, (H, W, 3) uint8 RGB, with its boxes and 0-based labels."""
        images, annotations = self._coco["images"], self._coco["annotations"]
        height, width, _ = pixels.shape
        images.append(
            {
                "id": len(images) + 1,
                "file_name": file_name,
                "width": width,
                "height": height,
                "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
            }
        )
        for box, label in zip(boxes, labels, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": label + 1,
                    "bbox": [float(side) for side in box],
                    "area": float(box[2] * box[3]),
                    "iscrowd": 0,
                    "difficult": 0,
                }
            )

    def content(self) -> bytes:
        """The bytes of the file."""
        return json_bytes(self._coco)

    def summary(self) -> dict[str, Any]:
        """What the manifest says of this split, beside its name."""
        labels = [annotation["category_id"] - 1 for annotation in self._coco["annotations"]]
        return {
            "sha256": hashlib.sha256(self.content()).hexdigest(),
            "images": len(self._coco["images"]),
            "boxes": len(labels),
            "boxes_per_class": np.bincount(labels, minlength=len(self._coco["categories"])).tolist(),
        }


def manifest_of(study: str, kind: str, classes: Sequence[str], splits: dict[str, Annotations]) -> dict[str, Any]:
    """The content of `manifest.json`; its digest covers every annotation and, through them, every pixel."""
    entries = {name: {"annotations": f"{name}.json", **split.summary()} for name, split in splits.items()}
    return {
        "study": study,
        "kind": kind,
        "classes": list(classes),
        "splits": entries,
        "digest": digest_of({name: entry["sha256"] for name, entry in entries.items()}),
    }


def digest_of(digests: dict[str, str]) -> str:
    """One SHA-256 over the digests of the annotation files, by name of split."""
    return hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in sorted(digests)).encode()).hexdigest()


class Writer:
    """Writes the data of a study so that an interrupted step leaves no manifest and no half a folder of images.

    A context manager: add images and splits inside it; leaving it without an error puts everything in place.
    Raises UserError when the disk is full.
    """

    def __init__(self, study: str, kind: str, classes: Sequence[str]) -> None:
        self._study, self._kind, self._classes = study, kind, classes
        self._splits: dict[str, Annotations] = {}
        self._images = paths.data(study, "images")
        self._partial = self._images.with_name(".images.partial")

    def __enter__(self) -> Self:
        paths.data(self._study, "manifest.json").unlink(missing_ok=True)
        with explained(self._images):
            _remove(self._partial)
            self._partial.mkdir(parents=True)
        return self

    def image(self, file_name: str, content: bytes) -> None:
        """Write one image file."""
        with explained(self._images / file_name):
            (self._partial / file_name).write_bytes(content)

    def split(self, name: str, annotations: Annotations) -> None:
        """Take the annotations of one split, to be written at the end."""
        self._splits[name] = annotations

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            _remove(self._partial)
            return
        with explained(self._images):
            _remove(self._images)
            self._partial.rename(self._images)
        for name, annotations in self._splits.items():
            write_atomic(paths.data(self._study, f"{name}.json"), annotations.content())
        manifest = manifest_of(self._study, self._kind, self._classes, self._splits)
        write_json(paths.data(self._study, "manifest.json"), manifest)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)

"""What every reader writes: a folder of images, one COCO file a split and, last of all, a manifest with a digest."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from detdistill.core import paths
from detdistill.core.files import explained, write_atomic, write_json

Box = tuple[float, float, float, float]  # x, y, width, height in pixels
FAULTS_NAMED = 100
"""Of each split; all are counted."""


@dataclass(frozen=True)
class Object:
    """One object of an image: its box, 0-based label and flags; `area` in square pixels if not that of the box."""

    box: Box
    label: int
    area: float | None = None
    iscrowd: bool = False
    difficult: bool = False


class Annotations:
    """The COCO file of one split, image after image. Ids count from 1; `classes` are in label order."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = list(classes)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._faults: list[dict[str, Any]] = []
        self._skipped: list[dict[str, str]] = []

    def add(self, file_name: str, pixels: np.ndarray, boxes: Sequence[Box], labels: Sequence[int]) -> None:
        """One image that is written, (H, W, 3) uint8 RGB, with its boxes and 0-based labels."""
        objects = [Object(box, label) for box, label in zip(boxes, labels, strict=True)]
        height, width, _ = pixels.shape
        self.add_image(file_name, width, height, objects, sha256=hashlib.sha256(pixels.tobytes()).hexdigest())

    def add_image(self, file_name: str, width: int, height: int, objects: Sequence[Object], **digest: str) -> None:
        """One image with its objects; `digest` is `sha256` of its pixels or `file_sha256` of its file."""
        image = len(self._images) + 1
        self._images.append({"id": image, "file_name": file_name, "width": width, "height": height, **digest})
        for each in objects:
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image,
                    "category_id": each.label + 1,
                    "bbox": [float(side) for side in each.box],
                    "area": float(each.box[2] * each.box[3] if each.area is None else each.area),
                    "iscrowd": int(each.iscrowd),
                    "difficult": int(each.difficult),
                }
            )

    def add_fault(self, image: str, box: Sequence[float], reason: str, done: Literal["dropped", "clipped"]) -> None:
        """A box that was not taken as the raw data have it."""
        self._faults.append({"image": image, "box": [float(side) for side in box], "reason": reason, "done": done})

    def add_skipped(self, image: str, reason: str) -> None:
        """An image of the raw data that is left out."""
        self._skipped.append({"image": image, "reason": reason})

    def content(self) -> bytes:
        """The bytes of the file: strict JSON, one image or annotation a line."""
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(self._classes)]
        parts = {"annotations": self._annotations, "categories": categories, "images": self._images}
        lists = [f'"{name}": [\n' + ",\n".join(map(_line, items)) + "\n]" for name, items in parts.items()]
        return ("{\n" + ",\n".join(lists) + "\n}\n").encode()

    def summary(self) -> dict[str, Any]:
        """What the manifest says of this split, beside its name; of images left out only where there are some."""
        labels = [annotation["category_id"] - 1 for annotation in self._annotations]
        done = [fault["done"] for fault in self._faults]
        return {
            "sha256": hashlib.sha256(self.content()).hexdigest(),
            "images": len(self._images),
            "boxes": len(labels),
            "boxes_per_class": np.bincount(labels, minlength=len(self._classes)).tolist(),
            "dropped": done.count("dropped"),
            "clipped": done.count("clipped"),
            "faults": self._faults[:FAULTS_NAMED],
            **({"skipped": self._skipped} if self._skipped else {}),
        }


def _line(value: object) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)


def manifest_of(
    study: str, kind: str, classes: Sequence[str], splits: dict[str, Annotations], folder: str | None = None
) -> dict[str, Any]:
    """The content of `manifest.json`; its digest covers every annotation and, through them, every pixel.

    `folder` is what the file names of the images are below, when they are not written but left where they are.
    """
    entries = {name: {"annotations": f"{name}.json", **split.summary()} for name, split in splits.items()}
    return {
        "study": study,
        "kind": kind,
        "folder": folder,
        "classes": list(classes),
        "splits": entries,
        "digest": digest_of({name: entry["sha256"] for name, entry in entries.items()}),
    }


def digest_of(digests: dict[str, str]) -> str:
    """One SHA-256 over the digests of the annotation files, by name of split."""
    return hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in sorted(digests)).encode()).hexdigest()


class Writer:
    """Writes the data of a study so that an interrupted step leaves no manifest and no half a folder of images.

    A context manager: add images and splits inside it; leaving it without an error puts everything in place. With a
    `folder`, the images stay where they are, below it, and the study's own folder of images is empty.
    Raises UserError when the disk is full.
    """

    def __init__(self, study: str, kind: str, classes: Sequence[str], folder: str | None = None) -> None:
        self._study, self._kind, self._classes, self._folder = study, kind, classes, folder
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
            (self._partial / file_name).parent.mkdir(parents=True, exist_ok=True)
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
        manifest = manifest_of(self._study, self._kind, self._classes, self._splits, self._folder)
        write_json(paths.data(self._study, "manifest.json"), manifest)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)

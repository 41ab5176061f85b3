"""What an exported model finds in images and videos: drawn, and as COCO JSON."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from detdistill.core.errors import UserError
from detdistill.core.files import explained, read_bytes, require_empty, write_atomic, write_json
from detdistill.dataset.pixels import decode
from detdistill.detect.drawing import draw
from detdistill.detect.sources import Source, find
from detdistill.detect.video import Video, Writer
from detdistill.detectors.base import Detections, Detector
from detdistill.export.folder import load
from detdistill.export.shrink import predict

RESULT = "detections.json"
THRESHOLD = 0.5
"""Of a model whose card has none."""
Item = TypeVar("Item")


@dataclass
class Detected:
    """What a command has found: COCO's `images` and `annotations`, what was left out and why, and the time it took."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    detecting: float = 0.0
    """Seconds in the detector, and in shrinking its images."""
    total: float = 0.0
    """Seconds, reading and drawing too."""

    def add(self, found: Detections, size: Sequence[int], **image: Any) -> None:
        """One image of (H, W) pixels, with its detections."""
        number = len(self.images) + 1
        self.images.append({"id": number, "height": size[0], "width": size[1], **image})
        for box, score, label in zip(*(found[name].tolist() for name in ("boxes", "scores", "labels")), strict=True):
            left, top, right, bottom = box
            sides = [right - left, bottom - top]
            annotation = {"id": len(self.annotations) + 1, "image_id": number, "category_id": label + 1}
            annotation |= {"bbox": [left, top, *sides], "area": sides[0] * sides[1], "iscrowd": 0, "score": score}
            self.annotations.append(annotation)

    def __str__(self) -> str:
        count = len(self.images)
        return (
            f"{count} images, {len(self.annotations)} detections, {count / max(self.total, 1e-9):.1f} images a second "
            f"({count / max(self.detecting, 1e-9):.1f} in the detector)"
        )


def detect(model: Path, given: Sequence[Path], to: Path, threshold: float | None = None, batch: int = 8) -> Detected:
    """Detect, and write into `to` every image and video with its boxes, and `detections.json` in COCO's form.

    An image or video that cannot be read is left out and told of; all others are done.

    Args:
        model: a folder that `detdistill export` wrote.
        given: images, videos and folders of them.
        threshold: the least score; by default the model's own, of the highest F1 on its validation split.
        batch: images of one size that are detected together.

    Raises:
        UserError: a folder that is no model, names that do not exist, `to` with something in it, nothing to read.
    """
    require_empty(to)
    detector, card = load(model)
    sources = find(given)
    chosen = threshold if threshold is not None else card.threshold if card.threshold is not None else THRESHOLD
    device = "cuda" if torch.cuda.is_available() else "cpu"
    work = _Work(detector.to(device), card.resize, card.classes, to, chosen, batch, Detected())
    start = time.perf_counter()
    with explained(to), _progress() as bar:
        task = bar.add_task("detecting", total=sum(not source.is_video for source in sources))
        work.tell = lambda: bar.advance(task)
        work.images([source for source in sources if not source.is_video])
        for source in sources:
            if source.is_video:
                work.video(source, lambda frames: bar.reset(task, total=frames))
    found = work.found
    found.total = time.perf_counter() - start
    if not found.images:
        raise UserError("; ".join(found.left_out))
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(card.classes)]
    write_json(to / RESULT, {"images": found.images, "annotations": found.annotations, "categories": categories})
    return found


@dataclass
class _Work:
    detector: Detector
    longest: int | None
    classes: list[str]
    to: Path
    threshold: float
    batch: int
    found: Detected
    tell: Callable[[], None] = lambda: None

    def images(self, sources: Sequence[Source]) -> None:
        for group in _alike(self._read(sources), self.batch):
            results = self._detect([image for _, image in group])
            for (source, image), each in zip(group, results, strict=True):
                self.found.add(each, image.shape[1:], file_name=source.file.as_posix())
                _save(self.to / source.drawn, draw(image, each, self.classes))
                self.tell()

    def video(self, source: Source, begin: Callable[[int | None], None]) -> None:
        number = 0
        try:
            video = Video(source.file)
            begin(video.frames)
            file = self.to / source.drawn
            file.parent.mkdir(parents=True, exist_ok=True)
            with Writer(file, video.rate) as writer:
                for group in _alike(video, self.batch):
                    results = self._detect([frame for _, frame in group])
                    for (seconds, frame), each in zip(group, results, strict=True):
                        name = source.file.as_posix()
                        self.found.add(each, frame.shape[1:], file_name=name, frame=number, seconds=seconds)
                        writer.write(draw(frame, each, self.classes), seconds)
                        number += 1
                        self.tell()
        except UserError as error:
            kept = f"; what was found in {number} frames before is kept" if number else ""
            self.found.left_out.append(f"{error}{kept}")

    def _read(self, sources: Sequence[Source]) -> Iterator[tuple[Source, Tensor]]:
        for source in sources:
            try:
                image = decode(source.file, read_bytes(source.file))
            except UserError as error:
                self.found.left_out.append(str(error))
                self.tell()
            else:
                yield source, torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()

    def _detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """The detections of images of one size, uint8 (3, H, W), at and above the threshold, on the CPU."""
        start = time.perf_counter()
        results = predict(self.detector, images, self.longest)
        self.found.detecting += time.perf_counter() - start
        return [{name: value[each["scores"] >= self.threshold] for name, value in each.items()} for each in results]


def _alike(images: Iterable[tuple[Item, Tensor]], most: int) -> Iterator[list[tuple[Item, Tensor]]]:
    """Neighbours of one size together, so that none is padded for the sake of another; at most so many."""
    waiting: list[tuple[Item, Tensor]] = []
    for each in images:
        if waiting and (len(waiting) == most or waiting[0][1].shape != each[1].shape):
            yield waiting
            waiting = []
        waiting.append(each)
    if waiting:
        yield waiting


def _save(file: Path, picture: Tensor) -> None:
    content = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(content, "PNG")
    write_atomic(file, content.getvalue())


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)

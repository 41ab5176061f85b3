"""What a teacher says of every training image: asked once, kept in memory-mapped files, read by every run it teaches.

Where images are not augmented, the teacher's maps, dense outputs, memory and queries are constants of the image. Its
RoI head is still run at each step, on the kept neck, because the boxes are the student's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detdistill.core import paths
from detdistill.core.code import module_file
from detdistill.core.errors import UserError
from detdistill.core.files import explained, read_json, sha256, write_json
from detdistill.core.timing import measure
from detdistill.dataset.manifest import Split
from detdistill.detectors.base import Detector, Queries, Taps
from detdistill.evaluate.predict import as_float

BATCH = 16
CONSTANT = "anchors"
"""The one tap that is the same for every image of a size."""
ROI = "roi_"


class Answers:
    """The wanted taps of a teacher for each image of a split.

    They lie in `.scratch/answers/STUDY/PAIR`, a folder a teacher's digest, one file a tensor; a record of each tap
    holds the digests of its files. A tap without its record, or whose files are not what the record says, is asked
    anew. Other processes wait meanwhile, and older teachers' answers are removed.

    Args:
        teacher: in eval mode, with its weights, on the processor.
        weights: its file, `runs/STUDY/PAIR/teacher/0/model.safetensors`.
        split: the images, all of one size, which no step varies.
        data: the digest of the data.
        wanted: the taps; `roi_*` are found at each call.
        where: the student's file, for errors.

    Raises:
        UserError: images of several sizes, or a full disk.
    """

    def __init__(self, teacher: Detector, weights: Path, split: Split, data: str, wanted: frozenset[str], where: str):
        self._teacher, self._split = teacher, split
        self._rois = frozenset(tap for tap in wanted if tap.startswith(ROI))
        kept = (wanted - self._rois) | ({"neck"} if self._rois else set())
        self._check(where)
        identity = json.dumps([sha256(weights), data, _code(teacher), torch.__version__])
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self._folder = paths.SCRATCH.joinpath("answers", *weights.parts[1:3], digest)
        with explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            claim = open(self._folder.parent / "claim", "w")  # noqa: SIM115  held until the process lets go of it
        fcntl.flock(claim, fcntl.LOCK_EX)
        with claim:
            for other in self._folder.parent.iterdir():
                if other.is_dir() and other != self._folder:
                    shutil.rmtree(other)
            if missing := frozenset(tap for tap in kept - {CONSTANT} if not self._stands(tap)):
                self._ask(missing)
            records = {tap: read_json(self._record(tap)) for tap in kept - {CONSTANT}}
            self._kept = {
                leaf: np.load(self._folder / f"{leaf}.npy", mmap_mode="r")
                for record in records.values()
                for leaf, _ in record["files"]
            }
        self.core_seconds = sum(record["core_seconds"] for record in records.values())
        """What asking for these taps has cost, in whichever process it was done."""
        # One look for the anchors, and for the size that images are padded to.
        first = teacher.observe([as_float(split.image(0))], kept & {CONSTANT} or kept)
        self._padded, self._anchors = first.image_size, first.anchors
        self._size = (split.records[0].height, split.records[0].width)

    def __call__(self, indices: Sequence[int], device: torch.device, roi_boxes: Sequence[Tensor] | None) -> Taps:
        """The taps of these images of the split; `roi_*` at `roi_boxes`, one (R_i, 4) an image."""
        rows = list(indices)
        leaves = {leaf: torch.from_numpy(kept[rows]).to(device) for leaf, kept in self._kept.items()}
        taps = Taps(image_size=self._padded, image_sizes=[self._size] * len(rows))
        taps.anchors = {stride: anchors.to(device) for stride, anchors in self._anchors.items()}
        for leaf, tensor in leaves.items():
            _put(taps, leaf, tensor)
        return self._teacher.observe_rois(taps, self._rois, list(roi_boxes or [])) if self._rois else taps

    def _check(self, where: str) -> None:
        sizes = {(record.height, record.width) for record in self._split.records}
        if len(sizes) > 1:
            raise UserError(
                f"{where}: training.ask_teacher: 'once' needs images of one size, found {len(sizes)} sizes; "
                "'each_step' takes any"
            )

    def _record(self, tap: str) -> Path:
        return self._folder / f"{tap}.json"

    def _stands(self, tap: str) -> bool:
        """Whether the tap's files are there and are what its record says."""
        if not self._record(tap).exists():
            return False
        try:
            files = read_json(self._record(tap))["files"]
            return all(sha256(self._folder / f"{leaf}.npy") == digest for leaf, digest in files)
        except (UserError, KeyError, TypeError, ValueError):
            return False

    @torch.no_grad()
    def _ask(self, wanted: frozenset[str]) -> None:
        files: dict[str, np.memmap[Any, Any]] = {}
        with measure("answers") as cost, explained(self._folder):
            for tap in wanted:
                self._record(tap).unlink(missing_ok=True)
            for first in range(0, len(self._split), BATCH):
                rows = range(first, min(first + BATCH, len(self._split)))
                taps = self._teacher.observe([as_float(self._split.image(row)) for row in rows], wanted)
                for leaf, tensor in _leaves(taps, wanted):
                    if leaf not in files:
                        shape = (len(self._split), *tensor.shape[1:])
                        files[leaf] = _allocated(self._folder / f"{leaf}.npy", tensor.numpy().dtype, shape)
                    files[leaf][rows.start : rows.stop] = tensor.numpy()
            for file in files.values():
                file.flush()
        share = cost.spent().core_seconds / len(wanted)
        for tap in wanted:
            own = [leaf for leaf in files if leaf.partition(".")[0] == tap]
            # Pairs, for the order of the levels is that of the pyramid: keys are sorted as text, 16 before 4.
            digests = [(leaf, sha256(self._folder / f"{leaf}.npy")) for leaf in own]
            write_json(self._record(tap), {"files": digests, "core_seconds": share})


def _allocated(file: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A new array in a file whose place on the disk is taken at once: a full disk must be an error here, no SIGBUS."""
    array = np.lib.format.open_memmap(file, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with open(file, "r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return array


def check_constant(student: Detector, where: str) -> None:
    """Raise UserError for a student whose engine varies the training images: an answer is no constant then."""
    if student.varies:
        raise UserError(
            f"{where}: training.ask_teacher: 'once' needs images that are not augmented, as detector.input does; "
            "'each_step' takes them"
        )


def _leaves(taps: Taps, wanted: frozenset[str]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the wanted taps, by the name that its file has: `neck.4`, `initial_queries.boxes`."""
    for tap in sorted(wanted):
        value = getattr(taps, tap)
        if isinstance(value, Queries):
            value = {field.name: getattr(value, field.name) for field in fields(Queries)}
        parts = value.items() if isinstance(value, dict) else [("", value)]
        yield from ((f"{tap}.{part}" if part else tap, tensor) for part, tensor in parts if tensor is not None)


def _put(taps: Taps, leaf: str, tensor: Tensor) -> None:
    """Undo `_leaves` for one tensor."""
    tap, _, part = leaf.partition(".")
    if tap == "initial_queries":
        given = {} if taps.initial_queries is None else vars(taps.initial_queries)
        taps.initial_queries = Queries(**({"content": None, "boxes": None} | given | {part: tensor}))
    elif part:
        getattr(taps, tap)[part] = tensor
    else:
        setattr(taps, tap, tensor)


def _code(teacher: Detector) -> dict[str, str]:
    """The digest of every module that its answers can depend on, loaded by this process or not: all find the same."""
    package, folder, engine, *_ = type(teacher).__module__.split(".")
    found = [module_file(__name__)]
    for part in ("core", "dataset", "detectors", f"{folder}.{engine}"):
        found += module_file(f"{package}.{part}").parent.rglob("*.py")
    return {file.as_posix().rpartition(f"/{package}/")[2]: sha256(file) for file in sorted(found)}

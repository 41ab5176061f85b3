"""Images that leave `train` to become the splits that the data do not have, drawn by a seed.

What shows the same thing stays together: files of the same bytes, those that `same` names, the augmented copies of an
export, and, where `together` says so, the frames of a video, which its file names tell: a common stem and a running
number. What is the same as a third is the same.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from detdistill.core.files import sha256
from detdistill.core.params import Seed, Slice

EXPORTED = re.compile(r"_[a-z0-9]+\.rf\.[0-9a-z]+$", re.IGNORECASE)
"""What Roboflow appends to the name of each augmented copy of an image."""
NUMBERED = re.compile(r"[-_ .]*(frame|img|image|f)?[-_ .]*\d+$", re.IGNORECASE)
Amount = Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0, lt=1)]


class HoldOut(Slice):
    """How much of `train` becomes each missing split: a number of images, or a share of them below 1.

    `same` lists files that show the same picture in other bytes, below the folder of the data.
    """

    val: Amount | None = None
    test: Amount | None = None
    seed: Seed = 0
    together: Literal["images", "videos"] = "images"
    same: list[list[str]] = []

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.val is None and self.test is None:
            raise ValueError("say `val`, `test` or both")
        return self

    @property
    def amounts(self) -> dict[Literal["val", "test"], int | float]:
        """Those of the splits that are drawn."""
        amounts: dict[Literal["val", "test"], int | float] = {}
        if self.test is not None:
            amounts["test"] = self.test
        if self.val is not None:
            amounts["val"] = self.val
        return amounts


def draw(files: Sequence[str], root: Path, how: HoldOut) -> dict[str, Literal["val", "test"]]:
    """File -> split that it becomes part of; the same files and seed give the same answer, in any order.

    Groups come in the order of the digests of seed and name. A split takes each that still fits, at least one.
    """
    groups = _groups(files, root, how)
    left = sorted(groups, key=lambda name: hashlib.sha256(f"{how.seed} {name}".encode()).digest())
    drawn: dict[str, Literal["val", "test"]] = {}
    for split, amount in how.amounts.items():
        room = amount if isinstance(amount, int) else max(1, round(amount * len(files)))
        taken = []
        for name in left:
            if len(groups[name]) <= room:
                taken.append(name)
                room -= len(groups[name])
        taken = taken or sorted(left, key=lambda name: len(groups[name]))[:1]
        drawn.update({file: split for name in taken for file in groups[name]})
        left = [name for name in left if groups[name][0] not in drawn]
    return drawn


def group(file: str, together: Literal["images", "videos"]) -> str:
    """The name of what an image shows; images of one name are in one split."""
    path = Path(file)
    stem = EXPORTED.sub("", path.stem)
    return (path.parent / (NUMBERED.sub("", stem) if together == "videos" else stem)).as_posix()


def videos(files: Iterable[str]) -> dict[str, int]:
    """Stem of what the names say are videos -> frames; only those of two and more."""
    counts: dict[str, int] = defaultdict(int)
    for file in files:
        counts[group(file, "videos")] += 1
    return {name: count for name, count in counts.items() if count > 1}


def _groups(files: Sequence[str], root: Path, how: HoldOut) -> dict[str, list[str]]:
    """The name of a group, that of the first of its files -> all files that are the same, by whatever rule."""
    first = {file: file for file in files}
    named = several(files, lambda file: group(file, how.together))
    for alike in (*named, *_same_bytes(files, root), *how.same):
        ends = {_end(first, file) for file in alike}
        first.update(dict.fromkeys(ends, min(ends)))
    groups: dict[str, list[str]] = defaultdict(list)
    for file in files:
        groups[group(_end(first, file), how.together)].append(file)
    return groups


def _end(first: Mapping[str, str], file: str) -> str:
    while first[file] != file:
        file = first[file]
    return file


def _same_bytes(files: Sequence[str], root: Path) -> list[list[str]]:
    """Those that have the bytes of others. Only files of one size are read."""
    present = [file for file in files if (root / file).is_file()]
    sizes = several(present, lambda file: (root / file).stat().st_size)
    return [same for alike in sizes for same in several(alike, lambda file: sha256(root / file))]


def several(files: Sequence[str], key: Callable[[str], Hashable]) -> list[list[str]]:
    """The files that share a key with another one."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for file in files:
        groups[key(file)].append(file)
    return [group for group in groups.values() if len(group) > 1]

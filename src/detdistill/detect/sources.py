"""The images and videos that a command names: files, or all of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from detdistill.core.errors import UserError

VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})


@dataclass(frozen=True)
class Source:
    """A file, and its place below the output's folder, without what its name ends in."""

    file: Path
    place: Path

    @property
    def is_video(self) -> bool:
        return self.file.suffix.lower() in VIDEOS


def find(given: Sequence[Path]) -> list[Source]:
    """Every named file, and every image and video below every named folder, in the order of their names.

    Raises:
        UserError: what does not exist, a folder without any, or two files that would be drawn to one; all of them.
    """
    found: list[Source] = []
    faults: list[str] = []
    for path in given:
        if not path.exists():
            faults.append(f"{path}: no such file or folder")
        elif path.is_file():
            found.append(Source(path, Path(path.stem)))
        elif inside := list(_inside(path)):
            found += inside
        else:
            faults.append(f"{path}: no image and no video in this folder")
    places: dict[Path, Path] = {}
    for source in found:
        first = places.setdefault(source.place, source.file)
        if first != source.file:
            faults.append(f"{source.file}: would be drawn to the file that {first} is drawn to")
    if faults:
        raise UserError("; ".join(faults))
    return list(dict.fromkeys(found))


def _inside(folder: Path) -> Iterator[Source]:
    Image.init()
    suffixes = VIDEOS | {suffix for suffix, kind in Image.EXTENSION.items() if kind in Image.OPEN and kind != "PDF"}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in suffixes and file.is_file():
            yield Source(file, file.relative_to(folder).with_suffix(""))

"""The images and videos that a command names: files, or all of a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from detdistill.core.errors import UserError
from detdistill.data.tree import Tree

VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})


@dataclass(frozen=True)
class Source:
    """A file, and where it lies below the folder that was named."""

    file: Path
    below: Path
    whole: bool = False
    """Whether what is drawn keeps what the file's name ends in, `x.gif.png`, since `x.png` would be another's, too."""

    @property
    def is_video(self) -> bool:
        return self.file.suffix.lower() in VIDEOS

    @property
    def drawn(self) -> Path:
        """The file that it is drawn to, below the output's folder."""
        name = self.below.name if self.whole else self.below.stem
        return self.below.with_name(f"{name}{'.mp4' if self.is_video else '.png'}")


def find(given: Sequence[Path]) -> list[Source]:
    """Every named file, and every image and video below every named folder, in the order of their names.

    Links to folders are followed; hidden files and folders are passed over, as in a study's data.

    Raises:
        UserError: what does not exist, a folder without any, or two files that would be drawn to one; all of them. A
            folder that cannot be read.
    """
    found: list[Source] = []
    faults: list[str] = []
    for path in given:
        if not path.exists():
            faults.append(f"{path}: no such file or folder")
        elif path.is_file():
            found.append(Source(path, Path(path.name)))
        elif inside := list(_inside(path)):
            found += inside
        else:
            faults.append(f"{path}: no image and no video in this folder")
    found = _apart(list(dict.fromkeys(found)))
    first: dict[Path, Path] = {}
    for source in found:
        if (other := first.setdefault(source.drawn, source.file)) != source.file:
            faults.append(f"{source.file}: would be drawn to the file that {other} is drawn to")
    if faults:
        raise UserError("; ".join(faults))
    return found


def _apart(sources: list[Source]) -> list[Source]:
    """The sources, those with whole names that would be drawn to one file without."""
    count = Counter(source.drawn for source in sources)
    apart = [replace(source, whole=source.whole or count[source.drawn] > 1) for source in sources]
    return sources if apart == sources else _apart(apart)


def _inside(folder: Path) -> Iterator[Source]:
    Image.init()
    suffixes = VIDEOS | {suffix for suffix, kind in Image.EXTENSION.items() if kind in Image.OPEN and kind != "PDF"}
    for name in sorted(Tree(folder).files(*suffixes), key=Path):
        yield Source(folder / name, Path(name))

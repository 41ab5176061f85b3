"""The folders of a data set, links followed, and which of their files are images."""

import os
import re
from pathlib import Path

from detdistill.core.errors import UserError
from detdistill.data.reading import SUFFIXES

MOST_FOLDERS = 20_000


class Tree:
    """Every folder below `root`, by its path below it: the names of its files, sorted.

    Links to folders are followed; one that leads back to a folder that it lies in is not. Hidden folders are passed
    over. Raises UserError for a folder that cannot be read, and for more folders than a data set has.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders: dict[str, list[str]] = {}
        self._enter(root, ())

    def _enter(self, folder: Path, above: tuple[str, ...]) -> None:
        real = os.path.realpath(folder)
        if real in above:
            return
        if len(self.folders) == MOST_FOLDERS:
            raise UserError(f"{self.root}: more than {MOST_FOLDERS} folders below it; give the data's own folder")
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"{folder}: cannot be read: {error.strerror}") from None
        visible = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
        self.folders[folder.relative_to(self.root).as_posix()] = [entry.name for entry in visible if entry.is_file()]
        for entry in visible:
            if entry.is_dir():
                self._enter(folder / entry.name, (*above, real))

    def files(self, *suffixes: str) -> list[str]:
        """The paths below the root of all files with one of these suffixes, in small letters."""
        return [
            Path(folder, name).as_posix()
            for folder, names in self.folders.items()
            for name in names
            if name.lower().endswith(suffixes)
        ]

    def images(self, folder: str) -> list[str]:
        """The names of the images in a folder."""
        return [name for name in self.folders.get(folder, []) if name.lower().endswith(SUFFIXES)]


def words(path: str) -> set[str]:
    """The words of a path, in small letters: `train2017/x_train.json` has train, x and json."""
    return set(re.findall("[a-z]+", path.lower()))

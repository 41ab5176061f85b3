"""Where YOLO's text files lie: as Ultralytics has them, beside their images, or all in one folder."""

from pathlib import Path

from detdistill.data.tree import Tree
from detdistill.data.yolo import BESIDE, labels_of


def folders(tree: Tree) -> tuple[str | None, list[str]]:
    """The `labels` of data.yaml, and the folders of images some of which have a text file so; none where none has."""
    for labels in (None, BESIDE, _one(tree)):
        if found := [folder for folder in tree.folders if _any(tree, folder, labels)]:
            return labels, found
    return None, []


def _any(tree: Tree, folder: str, labels: str | None) -> bool:
    return any((tree.root / labels_of(image, labels)).is_file() for image in _images(tree, folder))


def _one(tree: Tree) -> str | None:
    """The one folder that has text files of most images, where no two images would share one."""
    stems = [Path(image).stem for folder in tree.folders for image in _images(tree, folder)]
    texts = {
        folder: {Path(name).stem for name in names if name.endswith(".txt")} for folder, names in tree.folders.items()
    }
    fitting = [folder for folder, names in texts.items() if stems and 2 * len(names.intersection(stems)) >= len(stems)]
    return fitting[0] if len(fitting) == 1 and len(set(stems)) == len(stems) else None


def _images(tree: Tree, folder: str) -> list[str]:
    return [Path(folder, name).as_posix() for name in tree.images(folder)]

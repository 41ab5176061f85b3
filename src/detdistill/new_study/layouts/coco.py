"""COCO files, one for all images, one a split or several, and folders of images."""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

from detdistill.data import coco
from detdistill.data.tree import Tree, words
from detdistill.new_study.layouts import homes
from detdistill.new_study.layouts.layout import Layout
from detdistill.new_study.layouts.placed import Placed, place, said, splits, unplaced
from detdistill.new_study.splits import Named


class _Said:
    """The names of images and categories of the COCO files of a tree, each file read once and not kept."""

    def __init__(self, tree: Tree) -> None:
        self._tree, self._file = tree, cache(self._read)

    def images(self, file: str) -> list[str]:
        return self._file(file)[0]

    def classes(self, file: str) -> list[str]:
        return self._file(file)[1]

    def _read(self, file: str) -> tuple[list[str], list[str]]:
        content = coco.read(self._tree.root / file)
        return [image.file_name for image in content.images], coco.categories(content)


def find(tree: Tree, named: Named) -> Layout | None:
    """Of several kinds of COCO files (keypoints, captions), those of instances."""
    files = [file for file in tree.files(".json") if coco.unfit(tree.root / file) is None]
    instances = [file for file in files if "instances" in words(file)]
    if not files:
        return None
    content = _Said(tree)
    return _layout(place(tree, named, instances or files, "COCO file", content.images), instances or files, content)


def only(tree: Tree, file: str) -> Layout | None:
    """That file alone; None when its images are not below the tree."""
    content = _Said(tree)
    images = homes.of_names(tree, content.images(file), file)
    return None if images is None else _layout({"train": {file: images}}, [file], content)


def near(tree: Tree) -> str | None:
    """A JSON file that is no COCO file."""
    files = tree.files(".json")
    return (
        f"{files[0]}, {coco.unfit(tree.root / files[0])}; images, annotations and categories are needed"
        if files
        else None
    )


def _layout(placed: Placed, files: Sequence[str], content: _Said) -> Layout:
    classes = [content.classes(file) for file in chain.from_iterable(placed.values())]
    values: dict[str, Any] = {"splits": splits(placed, "annotations")}
    if any(each != classes[0] for each in classes):  # the reader goes by names, so numbers may differ
        values["classes"] = [*dict.fromkeys(chain.from_iterable(classes))]
    return Layout("coco", values, said("a COCO file", placed), unplaced(files, placed))

"""COCO files, one for all images or one a split, and folders of images."""

from collections.abc import Callable, Sequence

from detdistill.data import coco
from detdistill.data.tree import Tree, words
from detdistill.new_study.layouts import homes
from detdistill.new_study.layouts.layout import Layout
from detdistill.new_study.layouts.placed import Placed, place, said, unplaced
from detdistill.new_study.splits import Named


def find(tree: Tree, named: Named) -> Layout | None:
    """Of several kinds of COCO files (keypoints, captions), those of instances."""
    files = [file for file in tree.files(".json") if coco.unfit(tree.root / file) is None]
    instances = [file for file in files if "instances" in words(file)]
    if not files:
        return None
    return _layout(place(tree, named, instances or files, "COCO file", _names(tree)), instances or files)


def only(tree: Tree, file: str) -> Layout | None:
    """That file alone; None when its images are not below the tree."""
    images = homes.of_names(tree, _names(tree)(file), file)
    return None if images is None else _layout({"train": (file, images)}, [file])


def near(tree: Tree) -> str | None:
    """A JSON file that is no COCO file."""
    files = tree.files(".json")
    return (
        f"{files[0]}, {coco.unfit(tree.root / files[0])}; images, annotations and categories are needed"
        if files
        else None
    )


def _names(tree: Tree) -> Callable[[str], list[str]]:
    return lambda file: [image.file_name for image in coco.read(tree.root / file).images]


def _layout(placed: Placed, files: Sequence[str]) -> Layout:
    splits = {split: {"annotations": file, "images": images} for split, (file, images) in placed.items()}
    return Layout("coco", {"splits": splits}, said("a COCO file", placed), unplaced(files, placed))

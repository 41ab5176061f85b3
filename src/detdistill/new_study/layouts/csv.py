"""CSV tables, one for all images or one a split, and folders of images."""

from detdistill.core.errors import UserError
from detdistill.data import csv
from detdistill.data.faults import Faults
from detdistill.data.tree import Tree
from detdistill.new_study.layouts import homes
from detdistill.new_study.layouts.layout import Layout
from detdistill.new_study.layouts.placed import Placed, place, said
from detdistill.new_study.splits import Named


def find(tree: Tree, named: Named) -> Layout | None:
    """Tables that are none of objects, such as lists of classes, are passed over."""
    tables = {file: found for file in tree.files(".csv") if (found := _images(tree, file))}
    return _layout(place(tree, named, list(tables), "table", tables.__getitem__)) if tables else None


def only(tree: Tree, file: str) -> Layout | None:
    """That table alone; None when its images are not below the tree. Raises UserError for what is no table."""
    rows = csv.read(tree.root / file, Faults())
    images = homes.of_names(tree, [row["file"] for _, row in rows], file)
    return None if images is None else _layout({"train": (file, images)})


def near(tree: Tree) -> str | None:
    """A table that is none of objects, and why."""
    for file in tree.files(".csv"):
        try:
            csv.read(tree.root / file, Faults())
        except UserError as error:
            return str(error)
    return None


def _images(tree: Tree, file: str) -> list[str]:
    try:
        return [row["file"] for _, row in csv.read(tree.root / file, Faults())]
    except UserError:
        return []  # `near` tells why, if no other file is a table


def _layout(placed: Placed) -> Layout:
    splits = {split: {"table": file, "images": images} for split, (file, images) in placed.items()}
    return Layout("csv", {"splits": splits}, said("a CSV table", placed))

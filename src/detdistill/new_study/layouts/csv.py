"""CSV tables: one for all images, with or without a column that tells their split, or one a split; and the images."""

from collections.abc import Sequence

from detdistill.core.errors import UserError
from detdistill.data import csv
from detdistill.data.faults import Faults
from detdistill.data.tree import Tree
from detdistill.new_study.layouts import homes
from detdistill.new_study.layouts.layout import Layout
from detdistill.new_study.layouts.placed import Placed, place, said, unplaced
from detdistill.new_study.splits import Named, choose, left


def find(tree: Tree, named: Named) -> Layout | None:
    """Tables that are none of objects, such as lists of classes, are passed over."""
    tables = {file: rows for file in tree.files(".csv") if (rows := _rows(tree, file))}
    if len(tables) == 1 and not any(name.partition(":")[0] in tables for name in named.values()):
        (file, rows), *_ = tables.items()
        if _values(rows):
            return _by_column(tree, named, file, rows, place(tree, {}, [file], "table", lambda file: _files(rows)))
    if not tables:
        return None
    return _layout(place(tree, named, list(tables), "table", lambda file: _files(tables[file])), list(tables))


def only(tree: Tree, file: str) -> Layout | None:
    """That table alone; None when its images are not below the tree. Raises UserError for what is no table."""
    rows = csv.read(tree.root / file, Faults())
    images = homes.of_names(tree, _files(rows), file)
    if images is None:
        return None
    placed: Placed = {"train": (file, images)}
    return _by_column(tree, {}, file, rows, placed) if _values(rows) else _layout(placed, [file])


def near(tree: Tree) -> str | None:
    """A table that is none of objects, and why."""
    for file in tree.files(".csv"):
        try:
            csv.read(tree.root / file, Faults())
        except UserError as error:
            return str(error)
    return None


def _rows(tree: Tree, file: str) -> csv.Rows:
    try:
        return csv.read(tree.root / file, Faults())
    except UserError:
        return []  # `near` tells why, if no other file is a table


def _files(rows: csv.Rows) -> list[str]:
    return [row["file"] for _, row in rows]


def _values(rows: csv.Rows) -> list[str]:
    """What the column says that tells the split, in the order of the lines."""
    return [*dict.fromkeys(row["split"] for _, row in rows if "split" in row)]


def _by_column(tree: Tree, named: Named, file: str, rows: csv.Rows, placed: Placed) -> Layout:
    values, images = _values(rows), placed["train"][1]
    chosen = choose(named, values, "value of its column of splits", tree.root / file)
    splits = {split: {"table": file, "images": images, "split": value} for split, value in chosen.items()}
    beside = [f"lines of {file} with split {value!r}" for value in left(values, chosen)]
    return Layout("csv", {"splits": splits}, said("a CSV table", placed) + ", splits by its column", beside)


def _layout(placed: Placed, tables: Sequence[str]) -> Layout:
    splits = {split: {"table": file, "images": images} for split, (file, images) in placed.items()}
    return Layout("csv", {"splits": splits}, said("a CSV table", placed), unplaced(tables, placed))

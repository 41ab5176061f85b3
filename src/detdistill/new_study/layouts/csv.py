"""CSV tables: of all images, with or without a column that tells their split, or one a split; and the images."""

from collections.abc import Mapping, Sequence
from itertools import chain

from detdistill.core.errors import UserError
from detdistill.data import csv
from detdistill.data.faults import Faults
from detdistill.data.tree import Tree
from detdistill.new_study.layouts import homes
from detdistill.new_study.layouts.layout import Layout
from detdistill.new_study.layouts.placed import Placed, place, said, single, splits, unplaced
from detdistill.new_study.splits import Named, choose, left, nameless


def find(tree: Tree, named: Named) -> Layout | None:
    """Tables that are none of objects, such as lists of classes, are passed over."""
    tables = {file: rows for file in tree.files(".csv") if (rows := _rows(tree, file))}
    if not tables:
        return None
    of_files = {split: name for split, name in named.items() if name.partition(":")[0] in tables}
    whole = len(tables) == 1 or (not of_files and nameless(tables))
    by_column = whole and any(map(_values, tables.values()))
    placed = place(tree, of_files if by_column else named, list(tables), "table", lambda file: _files(tables[file]))
    if by_column:
        values = {split: name for split, name in named.items() if split not in of_files}
        return _by_column(tree, values, tables, placed)
    return _layout(placed, list(tables))


def only(tree: Tree, file: str) -> Layout | None:
    """That table alone; None when its images are not below the tree. Raises UserError for what is no table."""
    rows = csv.read(tree.root / file, Faults())
    images = homes.of_names(tree, _files(rows), file)
    if images is None:
        return None
    placed: Placed = {"train": {file: images}}
    return _by_column(tree, {}, {file: rows}, placed) if _values(rows) else _layout(placed, [file])


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


def _by_column(tree: Tree, named: Named, tables: Mapping[str, csv.Rows], placed: Placed) -> Layout:
    """Splits of the lines of all tables that are `train`. Raises UserError where one has no such column."""
    images = placed["train"]
    values = {file: _values(tables[file]) for file in images}
    if bare := [file for file in values if not values[file]]:
        raise UserError(
            f"{tree.root / bare[0]}: no column that tells the split, which other tables of {tree.root} have"
        )
    every = [*dict.fromkeys(chain.from_iterable(values.values()))]
    chosen = choose(named, every, "value of the column of splits", tree.root / next(iter(images)))
    parts = {
        split: [
            {"table": file, "images": folder, "split": value}
            for file, folder in images.items()
            if value in values[file]
        ]
        for split, value in chosen.items()
    }
    beside = [f"lines of {', '.join(images)} with split {value!r}" for value in left(every, chosen.values())]
    return Layout("csv", {"splits": single(parts)}, said("a CSV table", placed) + ", splits by a column", beside)


def _layout(placed: Placed, tables: Sequence[str]) -> Layout:
    return Layout("csv", {"splits": splits(placed, "table")}, said("a CSV table", placed), unplaced(tables, placed))

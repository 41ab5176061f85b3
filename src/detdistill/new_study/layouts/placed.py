"""Splits that are files which name images, whose folders have to be found: COCO files and CSV tables."""

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from detdistill.core.errors import UserError
from detdistill.data.reading import SplitName
from detdistill.data.tree import Tree
from detdistill.new_study.layouts import homes
from detdistill.new_study.splits import Named, choose, left, nameless

Names = Callable[[str], Sequence[str]]
Placed = dict[SplitName, dict[str, str]]
"""Split -> file -> the folder that the names in it are below."""


def place(tree: Tree, named: Named, files: Sequence[str], what: str, names: Names) -> Placed:
    """The files of every split, and the folders of their images; the user may say `FILE` or `FILE:IMAGES`.

    Where none of several is called like a split, all are `train`, unless two name the same image.

    Args:
        names: the images that a file names.

    Raises:
        UserError: as `choose`, and when there is no folder with the images of a file.
    """
    if not named and nameless(files) and (whole := _apart(tree, files, names)):
        return {"train": whole}
    parts = {split: text.partition(":") for split, text in named.items()}
    chosen = choose({split: part[0] for split, part in parts.items()}, files, what, tree.root)
    return {
        split: {file: _images(tree, split, file, parts.get(split, ("",) * 3)[2], names(file))}
        for split, file in chosen.items()
    }


def unplaced(files: Sequence[str], placed: Placed) -> list[str]:
    """The files that became no split."""
    return left(files, [*chain.from_iterable(placed.values())])


def said(name: str, placed: Placed) -> str:
    """Where they lie, in words."""
    found = chain.from_iterable(images.items() for images in placed.values())
    return "; ".join(f"{name} in {file}, images in {images}/" for file, images in found)


def splits(placed: Placed, key: str) -> dict[SplitName, Any]:
    """What `data.yaml` says of them, the file of a part under that key."""
    return single(
        {split: [{key: file, "images": folder} for file, folder in images.items()] for split, images in placed.items()}
    )


def single(parts: Mapping[SplitName, Sequence[dict[str, str]]]) -> dict[SplitName, Any]:
    """As `data.yaml` says them: the only part of a split stands for the list of it."""
    return {split: list(found) if len(found) > 1 else found[0] for split, found in parts.items()}


def _apart(tree: Tree, files: Sequence[str], names: Names) -> dict[str, str] | None:
    """File -> the folder of its images; None where one has none, or where two files name the same image."""
    found, taken = dict[str, str](), set[str]()
    for file in files:
        listed = names(file)
        if (images := homes.of_names(tree, listed, file)) is None:
            return None
        own = {os.path.normpath(os.path.join(images, name)) for name in listed}
        if taken & own:
            return None
        taken |= own
        found[file] = images
    return found


def _images(tree: Tree, split: SplitName, file: str, given: str, names: Sequence[str]) -> str:
    found = given or homes.of_names(tree, names, file, split)
    if found is None or not any((tree.root / found / name).is_file() for name in names):
        where = tree.root / given if given else f"any folder of {tree.root}"
        raise UserError(
            f"{tree.root / file}: its images, {names[0]!r} and so on, are not in {where}; "
            f"put them there, or say --{split} {file}:FOLDER"
        )
    return found

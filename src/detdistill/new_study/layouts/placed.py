"""Splits of which each is one file that names images, whose folder has to be found: COCO files and CSV tables."""

from collections.abc import Callable, Sequence

from detdistill.core.errors import UserError
from detdistill.data.reading import SplitName
from detdistill.data.tree import Tree
from detdistill.new_study.layouts import homes
from detdistill.new_study.splits import Named, choose, left

Names = Callable[[str], Sequence[str]]
Placed = dict[SplitName, tuple[str, str]]
"""Split -> file, and the folder that the names in it are below."""


def place(tree: Tree, named: Named, files: Sequence[str], what: str, names: Names) -> Placed:
    """The file and the folder of images of every split; the user may say `FILE` or `FILE:IMAGES`.

    Args:
        names: the images that a file names.

    Raises:
        UserError: as `choose`, and when there is no folder with the images of a file.
    """
    parts = {split: text.partition(":") for split, text in named.items()}
    chosen = choose({split: part[0] for split, part in parts.items()}, files, what, tree.root)
    return {
        split: (file, _images(tree, split, file, parts.get(split, ("",) * 3)[2], names(file)))
        for split, file in chosen.items()
    }


def unplaced(files: Sequence[str], placed: Placed) -> list[str]:
    """The files that became no split."""
    return left(files, {split: file for split, (file, _) in placed.items()})


def said(name: str, placed: Placed) -> str:
    """Where they lie, in words."""
    return "; ".join(f"{name} in {file}, images in {images}/" for file, images in placed.values())


def _images(tree: Tree, split: SplitName, file: str, given: str, names: Sequence[str]) -> str:
    found = given or homes.of_names(tree, names, file, split)
    if found is None or not any((tree.root / found / name).is_file() for name in names):
        where = tree.root / given if given else f"any folder of {tree.root}"
        raise UserError(
            f"{tree.root / file}: its images, {names[0]!r} and so on, are not in {where}; "
            f"put them there, or say --{split} {file}:FOLDER"
        )
    return found

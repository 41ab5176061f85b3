"""The folder of the images that an annotation names, where several folders have files of these names.

Tools lay beside the images what looks like them: boxes drawn into their pixels, masks, depth. Such folders come last,
those that are usually called so for images first, and where nothing tells which it is, the user shall.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from detdistill.core.errors import UserError
from detdistill.data.tree import Tree, words

SAMPLE = 20
USUAL = {"images", "jpegimages", "imgs", "img", "photos"}
BESIDE = re.compile("vis(?!ib)|draw|annotat|mask|depth|seg")
"""How a word of a folder begins that has pictures of annotations, or of something else than what a camera sees."""


def of_names(tree: Tree, names: Sequence[str], file: str, split: str = "train") -> str | None:
    """The folder below which most of the images are that a file names, at least half of a sample.

    Raises UserError when several could be it.
    """
    names = [*dict.fromkeys(names)]
    sample = [names[place] for place in sorted({row * len(names) // SAMPLE for row in range(SAMPLE)})]
    found = {folder: _present(tree, folder, sample) for folder in tree.folders}
    if 2 * max(map(len, found.values())) < len(sample):
        return None
    advice = f"give {tree.root} and say --{split} {file}:FOLDER"
    return _best(tree, found, file, f"{file} {split}", advice)


def of_stems(tree: Tree, stems: Iterable[str], annotations: str) -> str | None:
    """The folder with most images that are called as the files of a folder. Raises UserError as `of_names`."""
    wanted = set(stems)
    found = {
        folder: {os.path.join(folder, name) for name in tree.images(folder) if Path(name).stem in wanted}
        for folder in tree.folders
    }
    if not any(found.values()):
        return None
    advice = f"call the right one images/, or take the other out of {tree.root}"
    return _best(tree, found, annotations, annotations, advice)


def _present(tree: Tree, folder: str, names: Sequence[str]) -> set[str]:
    return {os.path.normpath(os.path.join(folder, name)) for name in names if (tree.root / folder / name).is_file()}


def _best(tree: Tree, found: Mapping[str, set[str]], where: str, like: str, advice: str) -> str:
    """Of the folders with at least half as many files as the one with most; equals have the same files."""
    most = max(map(len, found.values()))
    ranks = {folder: _rank(folder, where, like, files) for folder, files in found.items() if 2 * len(files) >= most}
    first, *others = [folder for folder in ranks if ranks[folder] == max(ranks.values())]
    if rivals := [folder for folder in others if found[folder] != found[first]]:
        raise UserError(f"{tree.root / where}: its images are in {first}/ and also in {rivals[0]}/; {advice}")
    return first


def _rank(folder: str, where: str, like: str, files: set[str]) -> tuple[int, ...]:
    """The better the larger: no pictures of annotations, the files inside it, called as `where` or near `like`, called
    like images, more.
    """
    parts = Path(folder).parts
    beside = sum(BESIDE.match(word) is not None for word in words(folder))
    common = sum(mine == theirs for mine, theirs in zip(parts, Path(like).parts, strict=False))
    usual = any(part.lower() in USUAL for part in parts)
    inside = all(Path(file).is_relative_to(folder) for file in files)
    return -beside, inside, Path(where).stem in parts, len(words(folder) & words(like)), common, usual, len(files)

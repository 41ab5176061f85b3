"""XML files of VOC, listed in ImageSets/Main or all of a folder, and images of the same stems anywhere below."""

from itertools import chain
from pathlib import Path
from typing import Any

from detdistill.core.errors import UserError
from detdistill.data.reading import SplitName, lines_of
from detdistill.data.tree import Tree
from detdistill.data.voc import stem_of
from detdistill.new_study.layouts import homes
from detdistill.new_study.layouts.layout import Layout
from detdistill.new_study.splits import ALIASES, Named, choose, nameless

SNIFFED = 5
"""Files of a folder that are looked into."""


def find(tree: Tree, named: Named) -> Layout | None:
    """Splits by image sets, where there are any, or by folders of XML files."""
    folders = _folders(tree)
    if not folders:
        return None
    sets = [Path(file) for file in tree.files(".txt") if Path(file).parts[-3:-1] == ("ImageSets", "Main")]
    if sets:
        return _by_sets(tree, named, folders, sets)
    lists = _lists(tree, folders)
    to_train = [name for name in lists if Path(name).name.lower() in ALIASES["train"]]
    if to_train and not any(name in folders for name in named.values()):
        return _by_lists(tree, named, folders, lists)
    places = _places(tree, named, folders)
    beside = {folder: _images_of(tree, folder, folders[folder]) for folder in chain(*places.values())}
    splits = {
        split: [{"annotations": each, "images": beside[each]} for each in found] for split, found in places.items()
    }
    said = "; ".join(f"VOC files in {folder}/, images in {images}/" for folder, images in beside.items())
    others = [folder for folder in folders if folder not in beside]
    return Layout("voc", {"splits": splits}, said, [*others, *(f"{name}.txt" for name in lists)])


def near(tree: Tree) -> str | None:
    """XML files of another kind."""
    files = tree.files(".xml")
    return f"{files[0]}, but VOC's files have <annotation> with <object> and <bndbox>" if files else None


def _by_sets(tree: Tree, named: Named, folders: dict[str, list[str]], sets: list[Path]) -> Layout:
    names = [(file.parents[2] / file.stem).as_posix() for file in sets]
    chosen = choose(named, names, "image set", tree.root)
    year = Path(chosen["train"]).parent
    inside = [folder for folder in folders if Path(folder).is_relative_to(year)]
    usual = (year / "Annotations").as_posix()
    if usual not in inside and len(inside) != 1:
        raise UserError(f"{tree.root / usual}: no such folder of VOC files, for the sets of {tree.root / year}")
    annotations = usual if usual in inside else inside[0]
    images = _images_of(tree, annotations, folders[annotations])
    splits: dict[SplitName, Any] = {split: [name] for split, name in chosen.items()}
    values = {"splits": splits, "annotations": _below(annotations, year), "images": _below(images, year)}
    return Layout("voc", values, f"VOC files in {annotations}/, images in {images}/, lists in ImageSets/Main/")


def _places(tree: Tree, named: Named, folders: dict[str, list[str]]) -> dict[SplitName, list[str]]:
    """Split -> folders. Where none is called like a split, all are `train`, unless one may be a copy of another."""
    stems = [*chain(*folders.values())]
    if not named and nameless(folders) and len(set(stems)) == len(stems):
        return {"train": list(folders)}
    chosen = choose(named, folders, "folder of VOC files", tree.root)
    return {split: [folder] for split, folder in chosen.items()}


def _lists(tree: Tree, folders: dict[str, list[str]]) -> dict[str, str]:
    """Lists outside of ImageSets/Main that are called like splits, without suffix -> the folder that they name most of.

    They lie in ImageSets, in the root, or beside the folders of the XML files.
    """
    places = {Path("."), *(Path(folder).parent for folder in folders)}
    found = {}
    for file in map(Path, tree.files(".txt")):
        if (file.parent in places or file.parent.name == "ImageSets") and file.stem.lower() in chain(*ALIASES.values()):
            lines = [line.strip() for line in lines_of(tree.root / file) if line.strip()]
            named = {
                folder: sum(stem_of(line, stems) is not None for line in lines) for folder, stems in folders.items()
            }
            best = max(named, key=named.__getitem__)
            if 0 < len(lines) <= 2 * named[best]:
                found[file.with_suffix("").as_posix()] = best
    return found


def _by_lists(tree: Tree, named: Named, folders: dict[str, list[str]], lists: dict[str, str]) -> Layout:
    chosen = choose(named, lists, "list of images", tree.root)
    images = {lists[name]: _images_of(tree, lists[name], folders[lists[name]]) for name in chosen.values()}
    splits = {
        split: [{"annotations": lists[name], "images": images[lists[name]], "names": f"{name}.txt"}]
        for split, name in chosen.items()
    }
    said = "; ".join(f"VOC files in {folder}/, images in {images[folder]}/" for folder in images)
    return Layout("voc", {"splits": splits}, f"{said}, lists {', '.join(f'{name}.txt' for name in chosen.values())}")


def _folders(tree: Tree) -> dict[str, list[str]]:
    """Folder -> the stems of its XML files, where those are VOC's."""
    found = {}
    for folder, names in tree.folders.items():
        files = [name for name in names if name.lower().endswith(".xml")]
        if any(b"<annotation" in _head(tree.root / folder / name) for name in files[:SNIFFED]):
            found[folder] = [Path(name).stem for name in files]
    return found


def _head(file: Path) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(4096)
    except OSError:
        return b""  # is told with its reason when all files are read


def _images_of(tree: Tree, annotations: str, stems: list[str]) -> str:
    """The folder of their images. Raises UserError."""
    found = homes.of_stems(tree, stems, annotations)
    if found is None:
        raise UserError(
            f"{tree.root / annotations}: {len(stems)} VOC files, and no image of their names below {tree.root}; "
            f"create images/{stems[0]}.jpg and so on"
        )
    return found


def _below(folder: str, year: Path) -> str:
    """As the reader puts it below the year of the image set."""
    if not Path(folder).is_relative_to(year):
        raise UserError(f"{folder}: images outside of {year.as_posix()}/, which has their ImageSets")
    return Path(folder).relative_to(year).as_posix()

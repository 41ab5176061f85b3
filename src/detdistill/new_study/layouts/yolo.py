"""YOLO folders: data.yaml with the names of the classes and, if it says them, the splits; images, and text files."""

import os
from pathlib import Path
from typing import Any

from detdistill.core.errors import UserError
from detdistill.core.params import read_yaml
from detdistill.data.reading import SplitName, lines_of
from detdistill.data.tree import Tree
from detdistill.data.yolo import CLASSES, labels_of
from detdistill.new_study.layouts.layout import Layout
from detdistill.new_study.splits import ALIASES, Named, called, choose

CREATE = "create data.yaml with `names: [...]`, the classes in the order of their numbers"


def find(tree: Tree, named: Named) -> Layout | None:
    """Classes by data.yaml or a list of names, splits by data.yaml or by the names of folders."""
    described = [file for file in tree.files(".yaml", ".yml") if _has_names(tree.root / file)]
    if len(described) > 1:
        described = [file for file in described if Path(file).name in ("data.yaml", "dataset.yaml")] or described
    if len(described) > 1:
        raise UserError(f"{tree.root}: several could be data.yaml of YOLO: {', '.join(described)}; give one as DIR")
    if described:
        return only(tree, described[0], named)
    folders = _folders(tree)
    if not folders:
        return None
    lists = [file for file in tree.files(*CLASSES, ".names") if Path(file).name in CLASSES or file.endswith(".names")]
    if not lists:
        return None
    return _layout(tree, _listed(tree, lists), _chosen(tree, named, folders), lists[0])


def only(tree: Tree, file: str, named: Named | None = None) -> Layout | None:
    """What that data.yaml describes; None when its images are not below the tree. Raises UserError for a faulty one."""
    path = tree.root / file
    described = _described(path)
    if "names" not in described:
        raise UserError(f"{path}: names: they are missing; {CREATE}")
    names = _names(path, described)
    said = _splits(tree, path, described)
    folders = [*dict.fromkeys([*said.values(), *_folders(tree)])]
    if not folders:
        return None
    if said and not named:
        return _layout(tree, names, said, file)
    return _layout(tree, names, _chosen(tree, named or {}, folders), file)


def near(tree: Tree) -> str | None:
    """Images with text files, but no names of classes; a data.yaml without such images."""
    folders, described = _folders(tree), [file for file in tree.files(".yaml", ".yml") if _has_names(tree.root / file)]
    if folders:
        return f"images in {folders[0]}/ with YOLO's text files; {CREATE}"
    if described:
        return f"{described[0]} with names of classes; create images/NAME.jpg and labels/NAME.txt"
    return None


def _listed(tree: Tree, lists: list[str]) -> list[str]:
    """The names in the order of the lines, an empty one counted too. Raises UserError for lists that differ."""
    found = {}
    for file in lists:
        names = [line.strip() for line in "\n".join(lines_of(tree.root / file)).rstrip().split("\n")]
        if not any(names):
            raise UserError(f"{tree.root / file}: no name in it")
        found[file] = _distinct([name or f"class {number}" for number, name in enumerate(names)], tree.root / file)
        if found[file] != found[lists[0]]:
            raise UserError(f"{tree.root}: {lists[0]} and {file} differ; the numbers of classes must mean the same")
    return found[lists[0]]


def _has_names(path: Path) -> bool:
    try:
        return "names" in _described(path)
    except UserError:
        return path.name == "data.yaml"  # then it is read again, and told


def _described(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    return content if isinstance(content, dict) else {}


def _names(path: Path, described: dict[str, Any]) -> list[str]:
    """In the order of their numbers. Raises UserError."""
    names = described["names"]
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UserError(f"{path}: names: the numbers 0 to {len(names) - 1} are needed, found {[*names]}")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{path}: names: a list, or a mapping from numbers to names, is needed; found {names!r}")
    if described.get("nc", len(names)) != len(names):
        raise UserError(f"{path}: nc: {described['nc']}, but there are {len(names)} names")
    return _distinct([str(name) for name in names], f"{path}: names")


def _distinct(names: list[str], where: object) -> list[str]:
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{where}: {twice[0]!r} is there twice")
    return names


def _splits(tree: Tree, path: Path, described: dict[str, Any]) -> dict[SplitName, str]:
    """Split -> folder of images or list of them. Raises UserError for one that is not there.

    The same folder for training and validation is none for validation; without one for testing, validation tests.
    """
    found: dict[SplitName, str] = {}
    keys: dict[str, SplitName] = {"train": "train", "val": "val", "valid": "val", "test": "test"}
    for key, split in keys.items():
        if not (said := described.get(key)):
            continue
        if not isinstance(said, str):
            raise UserError(f"{path}: {key}: one folder of images or one list of them is needed, found {said!r}")
        place = _place(tree, path, str(described.get("path") or ""), said)
        if place is None:
            raise UserError(f"{path}: {key}: no folder {said!r} of images below {tree.root}")
        if place not in found.values():
            found[split] = place
    if "val" in found and "test" not in found:
        found["test"] = found.pop("val")
    return found if "train" in found else {}


def _place(tree: Tree, path: Path, base: str, said: str) -> str | None:
    """Below the root: as YOLO reads it, and else by the end of its path, as it was where the data were made."""
    root = os.path.abspath(tree.root)  # links stay as they are
    inner = os.path.join(*[part for part in Path(said).parts if part not in ("..", "/")])
    for candidate in (path.parent / base / said, path.parent / said, path.parent / inner):
        place = Path(os.path.abspath(candidate))
        if place.exists() and place.is_relative_to(root):
            return place.relative_to(root).as_posix()
    return None


def _chosen(tree: Tree, named: Named, folders: list[str]) -> dict[SplitName, str]:
    """By the names of the folders; when none of several is called like a split, all that is below them is `train`."""
    if not named and not any(called(alias, folders) for aliases in ALIASES.values() for alias in aliases):
        return {"train": os.path.commonpath(folders) or "."}
    return choose(named, folders, "folder of images", tree.root)


def _folders(tree: Tree) -> list[str]:
    """Those with an image that has a text file."""
    return [
        folder
        for folder in tree.folders
        if any((tree.root / labels_of(Path(folder, name).as_posix())).is_file() for name in tree.images(folder))
    ]


def _layout(tree: Tree, names: list[str], splits: dict[SplitName, str], source: str) -> Layout:
    places = ", ".join(f"{folder}/" if folder in tree.folders else folder for folder in splits.values())
    values = {"names": names, "splits": {split: [folder] for split, folder in splits.items()}}
    return Layout("yolo", values, f"YOLO files, images in {places}, names in {source}")

"""YOLO folders: data.yaml with the names of the classes and, if it says them, the splits; images, and text files."""

import os
from pathlib import Path

from detdistill.core.errors import UserError
from detdistill.data.reading import lines_of
from detdistill.data.tree import Tree
from detdistill.data.yolo import CLASSES, labels_of
from detdistill.new_study.layouts import described, texts
from detdistill.new_study.layouts.described import CREATE, Described, Places, distinct
from detdistill.new_study.layouts.layout import Layout
from detdistill.new_study.splits import Named, choose, nameless


def find(tree: Tree, named: Named) -> Layout | None:
    """Classes by data.yaml or a list of names, splits by data.yaml or by the names of folders."""
    files = described.files(tree)
    if len(files) > 1:
        raise UserError(f"{tree.root}: several could be data.yaml of YOLO: {', '.join(files)}; give one as DIR")
    if files:
        return only(tree, files[0], named)
    lists = [file for file in tree.files(*CLASSES, ".names") if Path(file).name in CLASSES or file.endswith(".names")]
    labels, folders = texts.folders(tree)
    if not lists or not folders:
        return None
    content = Described(_listed(tree, lists), {}, None)
    return _layout(tree, content, labels, folders, _chosen(tree, named, folders), lists[0])


def only(tree: Tree, file: str, named: Named | None = None) -> Layout | None:
    """What that data.yaml describes; None when its images are not below the tree. Raises UserError for a faulty one."""
    content = described.read(tree, file)
    labels, folders = texts.folders(tree)
    if content.splits and not folders:
        usual = labels_of(f"{content.splits['train'][0]}/NAME.jpg")
        raise UserError(
            f"{tree.root / file}: no image below {tree.root} has a text file: looked for {usual}, for NAME.txt beside "
            "the image, and for one folder that has them all"
        )
    if not folders:
        return None
    if content.splits and not named:
        return _layout(tree, content, labels, folders, content.splits, file)
    folders = [*dict.fromkeys([*(place for places in content.splits.values() for place in places), *folders])]
    return _layout(tree, content, labels, folders, _chosen(tree, named or {}, folders), file)


def near(tree: Tree) -> str | None:
    """Images with text files, but no names of classes; a data.yaml without such images."""
    (_, folders), files = texts.folders(tree), described.files(tree)
    if folders:
        return f"images in {folders[0]}/ with YOLO's text files; {CREATE}"
    if files:
        return f"{files[0]} with names of classes; create images/NAME.jpg and labels/NAME.txt"
    return None


def _listed(tree: Tree, lists: list[str]) -> list[str]:
    """The names in the order of the lines, an empty one counted too. Raises UserError for lists that differ."""
    found = {}
    for file in lists:
        names = [line.strip() for line in "\n".join(lines_of(tree.root / file)).rstrip().split("\n")]
        if not any(names):
            raise UserError(f"{tree.root / file}: no name in it")
        names = [name or f"class {number}" for number, name in enumerate(names)]
        found[file] = distinct(names, str(tree.root / file))
        if found[file] != found[lists[0]]:
            raise UserError(f"{tree.root}: {lists[0]} and {file} differ; the numbers of classes must mean the same")
    return found[lists[0]]


def _chosen(tree: Tree, named: Named, folders: list[str]) -> Places:
    """By the names of the folders; when none of several is called like a split, all that is below them is `train`."""
    if not named and nameless(folders):
        return {"train": [os.path.commonpath(folders) or "."]}
    chosen = choose(named, folders, "folder of images", tree.root)
    return {split: [folder] for split, folder in chosen.items()}


def _layout(
    tree: Tree, content: Described, labels: str | None, folders: list[str], splits: Places, source: str
) -> Layout:
    places = [place for places in splits.values() for place in places]
    shown = ", ".join(f"{place}/" if place in tree.folders else place for place in places)
    extra = {"labels": labels, "kpt_shape": content.kpt_shape}
    values = {"names": content.names, **{key: value for key, value in extra.items() if value}, "splits": splits}
    beside = [folder for folder in folders if not any(Path(folder).is_relative_to(place) for place in places)]
    listed = any(place not in tree.folders for place in places)
    said = f"YOLO files, images in {shown}, names in {source}"
    return Layout("yolo", values, said, [] if listed else beside)

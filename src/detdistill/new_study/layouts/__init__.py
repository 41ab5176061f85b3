"""The layouts in which people keep annotations, each recognised and put into the words of `data.yaml`.

A module is a layout; its `find(tree, named)` gives None where the data are no such thing, and `near(tree)` is what is
there of it, with what is missing, or None.
"""

from collections.abc import Callable
from pathlib import Path

from detdistill.core.errors import UserError
from detdistill.data.tree import Tree
from detdistill.new_study.layouts import coco, csv, voc, yolo
from detdistill.new_study.layouts.layout import Kind, Layout
from detdistill.new_study.splits import Named

Find = Callable[[Tree, Named], Layout | None]
FIND: dict[Kind, Find] = {"voc": voc.find, "coco": coco.find, "yolo": yolo.find, "csv": csv.find}
NEAR: dict[Kind, Callable[[Tree], str | None]] = {
    "yolo": yolo.near,
    "coco": coco.near,
    "voc": voc.near,
    "csv": csv.near,
}
FILES: dict[str, Kind] = {".json": "coco", ".csv": "csv", ".yaml": "yolo", ".yml": "yolo"}
CREATE = (
    "create annotations/NAME.xml (VOC), one JSON with images, annotations and categories (COCO), labels/NAME.txt with "
    "data.yaml (YOLO), or a table with filename,xmin,ymin,xmax,ymax,class (CSV)"
)


def find(place: Path, named: Named, kind: Kind | None = None) -> tuple[Path, Layout, list[Kind]]:
    """The folder of the data, their layout, and the other kinds that are there, too; `place` may be the one file.

    Raises UserError when there is nothing that can be read, with the nearest thing that could be and what to create.
    """
    if place.is_file():
        return _file(place, named, kind)
    if not place.is_dir():
        raise UserError(f"{place}: no such folder or file")
    tree = Tree(place)
    kinds = iter([kind] if kind else FIND)
    for each in kinds:
        if layout := FIND[each](tree, named):
            return place, layout, [other for other in kinds if _is_there(other, tree)]
    raise UserError(f"{place}: {_nearest(tree, kind)}")


def _is_there(kind: Kind, tree: Tree) -> bool:
    try:
        return FIND[kind](tree, {}) is not None
    except UserError:
        return False  # not asked for, and not to be read either: nothing to tell


def _file(place: Path, named: Named, kind: Kind | None) -> tuple[Path, Layout, list[Kind]]:
    """Of one file, whose images are below its folder or beside that."""
    is_kind = FILES.get(place.suffix.lower())
    if is_kind is None or kind not in (None, is_kind):
        raise UserError(f"{place}: a folder is needed, or a COCO file (.json), a table (.csv) or YOLO's data.yaml")
    if named:
        raise UserError(f"{place}: one file has no --{next(iter(named))}; give its folder")
    only = {"coco": coco.only, "csv": csv.only, "yolo": yolo.only}[is_kind]
    near, wide = Tree(place.parent), place.parent.parent
    layout = only(near, place.name)
    if layout is None and place.parent.name:
        near = Tree(wide)
        layout = only(near, place.relative_to(wide).as_posix())
    if layout is None:
        raise UserError(f"{place}: its images are neither below {place.parent} nor below {wide}")
    return near.root, layout, []


def _nearest(tree: Tree, kind: Kind | None) -> str:
    pictures = {folder: len(tree.images(folder)) for folder in tree.folders if tree.images(folder)}
    most = max(pictures, key=pictures.__getitem__, default=None)
    for each, near in NEAR.items():
        if kind in (None, each) and (told := near(tree)):
            return f"no annotations that can be read; the nearest: {told}"
    if most is None:
        return f"no image and no annotation in it; put images into images/ and {CREATE}"
    return f"no annotations; the nearest: {pictures[most]} images in {most}/; {CREATE}"

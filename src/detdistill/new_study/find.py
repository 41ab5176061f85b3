"""Where a folder has its splits: by the names that people give them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detdistill.core.errors import UserError, near
from detdistill.data import coco
from detdistill.data.reading import SplitName

ALIASES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}


def voc_splits(folder: Path, named: dict[SplitName, str]) -> dict[SplitName, str]:
    """Split -> image set. Without one for testing, `val` tests and validation is held out of `train`."""
    sets = [file.relative_to(folder) for file in sorted(folder.glob("**/ImageSets/Main/*.txt"))]
    names = [(file.parents[2] / file.stem).as_posix() for file in sets]
    if not names:
        raise UserError(f"{folder}: not a VOC folder: no ImageSets/Main/*.txt in it")
    for split, name in named.items():
        if name not in names:
            raise UserError(f"--{split}: no image set {name!r} in {folder}{near(name, names)}")
    return _complete(named, lambda alias: [name for name in names if name.rpartition("/")[2] == alias], folder)


def coco_splits(folder: Path, named: dict[SplitName, str]) -> dict[SplitName, dict[str, str]]:
    """Split -> annotation file and folder of images. Without one for testing, as for VOC."""
    files = [file.relative_to(folder).as_posix() for file in sorted(folder.glob("**/*.json"))]

    def candidates(alias: str) -> list[str]:
        found = [file for file in files if alias in file and "instances" in file]
        return found or [file for file in files if alias in file]

    chosen = _complete(named, candidates, folder)
    return {split: _with_images(folder, name, split) for split, name in chosen.items()}


def _complete(named: dict[SplitName, str], candidates: Any, folder: Path) -> dict[SplitName, str]:
    """The named splits, and for each other one the only candidate that an alias has."""
    chosen = dict(named)
    for split, aliases in ALIASES.items():
        found: list[str] = next((names for alias in aliases if (names := candidates(alias))), [])
        if split in chosen or not found:
            continue
        if len(found) > 1:
            raise UserError(f"{folder}: several could be {split}: {', '.join(found)}; say --{split}")
        chosen[split] = found[0]
    if "test" not in chosen and "val" in chosen and "val" not in named:
        chosen["test"] = chosen.pop("val")
    for split in ("train", "test"):
        if split not in chosen:
            raise UserError(f"{folder}: no split for {split} found; say --{split}")
    return {split: chosen[split] for split in ALIASES if split in chosen}


def _with_images(folder: Path, name: str, split: str) -> dict[str, str]:
    """The two parts of `ANNOTATIONS:IMAGES`; the folder of images is the one that has the first and the last image."""
    annotations, colon, images = name.partition(":")
    content = coco.read(folder / annotations)
    ends = [content.images[0].file_name, content.images[-1].file_name]
    for place in [images] if colon else _places(folder, annotations, split):
        if all((folder / place / end).is_file() for end in ends):
            return {"annotations": annotations, "images": place}
    where = images or str(folder)
    raise UserError(
        f"{folder / annotations}: images: {ends[0]!r} is not in {where}; say --{split} {annotations}:FOLDER"
    )


def _places(folder: Path, annotations: str, split: str) -> Iterator[str]:
    """Folders that may hold the images of a split, those named like it first."""
    below = [place.relative_to(folder).as_posix() for place in sorted(folder.glob("**/")) if place != folder]
    yield from sorted(below, key=lambda place: not any(alias in place for alias in (split, Path(annotations).stem)))
    yield "."

"""What the pictures show: an image of the validation split, or a part of a long one, and a run of each model."""

from pathlib import Path

from PIL import Image

from detdistill.analysis.choice import shown
from detdistill.analysis.summary import PairSummary
from detdistill.core import paths
from detdistill.dataset.manifest import Manifest
from detdistill.dataset.records import Record

SPLIT = "val"
MOST_TALL, MOST_WIDE = 1.6, 3.0  # of a picture, one side over the other; a longer image is cut
PIXELS = 360  # of a picture's longer side, about 300 to the inch on paper


def models(content: PairSummary) -> tuple[str | None, str | None, str | None]:
    """Teacher, and the distilled student that validation chose after its plain one."""
    return paths.TEACHER, *shown(content)


def of_first_seed(study: str, pair: str, recipe: str | None, content: PairSummary, name: str) -> Path | None:
    """A file of the first seed that has results; None without any."""
    stats = content["teacher"] if recipe == paths.TEACHER else content["recipes"].get(recipe or "")
    if not recipe or not stats or not stats["AP50"]["n"]:
        return None
    return paths.run(study, pair, recipe, next(iter(stats["AP50"]["values"])), name)


def folder(manifest: Manifest) -> Path:
    """Where the images are."""
    return Path(manifest.folder) if manifest.folder else paths.data(manifest.study, "images")


def picture(record: Record, images: Path) -> Image.Image:
    """What of an image is shown."""
    shown = Image.open(images / record.file_name).convert("RGB").crop(window(record))
    shown.thumbnail((PIXELS, PIXELS))
    return shown


def window(record: Record) -> tuple[int, int, int, int]:
    """The part of an image that is shown: left, top, right, bottom.

    All of it, but of a long and narrow image where most objects lie; ties by the order of the objects.
    """
    width, height = (
        min(record.width, round(MOST_WIDE * record.height)),
        min(record.height, round(MOST_TALL * record.width)),
    )
    boxes = record.boxes.tolist()

    def at(box: list[float]) -> tuple[int, int, int, int]:
        left = min(max(int((box[0] + box[2] - width) / 2), 0), record.width - width)
        top = min(max(int((box[1] + box[3] - height) / 2), 0), record.height - height)
        return left, top, left + width, top + height

    def inside(view: tuple[int, int, int, int]) -> int:
        return sum(view[0] <= x1 and view[1] <= y1 and x2 <= view[2] and y2 <= view[3] for x1, y1, x2, y2 in boxes)

    return max(map(at, boxes), key=inside, default=(0, 0, width, height))


def cut(record: Record) -> bool:
    """Whether less than the whole image is shown."""
    return window(record) != (0, 0, record.width, record.height)

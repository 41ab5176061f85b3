"""`python tests/bench_reading.py`: time and memory to read annotations of COCO's size, which are made up."""

import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from detdistill.dataset.prepared import Annotations, Object
from detdistill.dataset.records import read_records

IMAGES, BOXES = 118_287, 860_001
CLASSES = [str(label) for label in range(80)]


def write(file: Path) -> None:
    """The prepared annotations of as many images and boxes as COCO's train2017 has."""
    draw, annotations = random.Random(0), Annotations(CLASSES)
    for image in range(IMAGES):
        count = BOXES * (image + 1) // IMAGES - BOXES * image // IMAGES
        boxes = [
            (draw.randint(0, 400), draw.randint(0, 300), draw.randint(5, 200), draw.random()) for _ in range(count)
        ]
        objects = [Object(box, draw.randrange(len(CLASSES))) for box in boxes]
        annotations.add_image(f"{image:012d}.jpg", 640, 480, objects, file_sha256="0" * 64)
    file.write_bytes(annotations.content())


def read(file: Path) -> None:
    """In a process of its own, so that its memory is that of reading."""
    wall, core = time.perf_counter(), time.process_time()
    read_records(file, CLASSES)
    wall, core = time.perf_counter() - wall, time.process_time() - core
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{IMAGES} images, {BOXES} boxes: {wall:.1f} s, of which {core:.1f} s on a core, {memory:.1f} GiB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        read(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, "train.json")
            write(made)
            subprocess.run([sys.executable, __file__, str(made)], check=True)

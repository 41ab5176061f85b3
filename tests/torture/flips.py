"""One byte of a finished study flipped: `verify` must name it, and nothing of it may reach a figure."""

from __future__ import annotations

import os
import random
from pathlib import Path

from PIL import Image

from . import forked, study
from .table import Row


def files(finished: Path, count: int, draw: random.Random) -> list[Path]:
    """Different kinds first: one file of each name, then more at random. What the last step prints is no input."""
    tops = ("data", "runs", f"reports/{study.STUDY}")
    found = sorted(file for top in tops for file in (finished / top).rglob("*") if file.is_file())
    found = [file for file in found if file.suffix != ".svg"]
    draw.shuffle(found)
    kinds = {file.name if file.suffix != ".png" else "png": file for file in found}
    chosen = [*kinds.values(), *(file for file in found if file not in kinds.values())]
    return sorted(file.relative_to(finished) for file in chosen[:count])


def flip(file: Path, place: int, mask: int) -> bytes:
    """Flip bits of one byte in place, its time stamp kept; returns what the file held before."""
    before, times = file.read_bytes(), file.stat()
    content = bytearray(before)
    content[place] ^= mask
    restore(file, bytes(content), times)
    return before


def restore(file: Path, content: bytes, times: os.stat_result) -> None:
    """Write in place and put the time stamp back."""
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def noticed(finished: Path, folder: Path, chosen: int, places: int, draw: random.Random) -> Row:
    """At random places of each file: `verify` ends with exit code 1 or 2 and names the file."""
    row = Row("byte flipped, verify")
    study.copy(finished, folder)
    for name in files(finished, chosen, draw):
        file = folder / name
        times, size = file.stat(), file.stat().st_size
        for _ in range(places):
            place, mask = draw.randrange(size), draw.randrange(1, 256)
            before = flip(file, place, mask)
            found = forked.run(folder, "verify", "--study", study.STUDY)
            seen = _pixels(file)
            restore(file, before, times)
            row.tried += 1
            row.judge(found, f"{name} byte {place} mask {mask}")
            told = found.code != 0 and name.name in found.said
            # A byte of a picture that makes none of its pixels is no damage.
            if not told and (seen is None or seen != _pixels(file)):
                row.silent.append(f"{name}: byte {place}, mask {mask}: verify said {found.said[-200:]}")
    return row


def _pixels(file: Path) -> bytes | None:
    """Of a picture that can be read, else None."""
    try:
        with Image.open(file) as image:
            return image.tobytes()
    except (OSError, SyntaxError, ValueError):  # what Pillow says of damage, and of what is no picture
        return None


def printed(finished: Path, folder: Path, chosen: int, draw: random.Random) -> Row:
    """One place of each file: statistics and report name the file, or come out as they were."""
    row = Row("byte flipped, summarize and report")
    results = ("summary.json", "cost.json")
    for name in files(finished, chosen, draw):
        if name.parts[0] == "reports":
            continue  # made anew by the very step
        file = study.copy(finished, folder) / name
        place, mask = draw.randrange(file.stat().st_size), draw.randrange(1, 256)
        flip(file, place, mask)
        row.tried += 1
        for verb in ("summarize", "report"):
            found = forked.run(folder, verb, "--study", study.STUDY)
            row.judge(found, f"{name} byte {place} mask {mask}: {verb}")
            if found.code:
                break
        for result in results:
            made, expected = (each / "reports" / study.STUDY / result for each in (folder, finished))
            if made.read_bytes() != expected.read_bytes():
                row.silent.append(f"{name}: byte {place}, mask {mask}: {result} is another")
    return row

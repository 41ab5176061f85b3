"""A slice edited while a step that reads it works: it must not pass for the one that was used."""

from __future__ import annotations

import random
import time
from pathlib import Path

from . import forked, study
from .table import Row

EDITED = {
    "teacher": ("teacher.yaml", "lr: 0.002", "lr: 0.003"),
    "student": ("student.yaml", "lr: 0.002", "lr: 0.003"),
    "distill": ("pkd.yaml", "6.0", "7.0"),
    "tune": ("pkd.yaml", "6.0", "7.0"),
    "evaluate": ("student.yaml", "lr: 0.002", "lr: 0.003"),
}


def under_way(finished: Path, folder: Path, edits: int, draw: random.Random) -> Row:
    """The step ends in one line and writes nothing, or it was over before, and `verify` says what has changed."""
    row = Row("slice edited under way")
    steps = [each for each in study.commands(finished) if each[0] in EDITED and "teacher" not in each[2:]]
    for number in range(edits):
        command = steps[number % len(steps)]
        study.copy(finished, folder)
        name, old, new = EDITED[command[0]]
        slice_ = folder / "params" / study.STUDY / command[1] / name
        assert old in slice_.read_text()
        seconds = forked.run(folder, *command).seconds
        child = forked.start(folder, *command)
        time.sleep(draw.uniform(0.1, 1.1) * seconds)
        slice_.write_text(slice_.read_text().replace(old, new))
        ended = child.wait()
        row.tried += 1
        row.judge(ended, f"{' '.join(command)}")
        told = forked.run(folder, "verify", "--study", study.STUDY)
        row.judge(told, "verify")
        stopped = ended.refused and "changed while this step ran" in ended.said
        if not (stopped or (told.code == 1 and f"made from another {slice_.relative_to(folder)}" in told.said)):
            row.silent.append(f"{' '.join(command)}: {ended.said[-200:]} verify: {told.said[-200:]}")
    return row

"""`kill -9` in every kind of step, and of whole drivers: the study must come out as if nothing had happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import forked, study
from .table import Row

DRIVERS = {
    "snakemake": ["snakemake", "--config", f"study={study.STUDY}", "--cores", "1"],
    "dvc": ["dvc", "repro", study.PIPELINE],
}


def in_steps(finished: Path, folder: Path, kills: int, draw: random.Random) -> Row:
    """Kill each step at random moments of it, several times, then let it end; the next step follows."""
    row = Row("kill -9 in a step")
    study.lay(folder)
    commands = study.commands(folder)
    for place, command in enumerate(commands):
        share = kills * (place + 1) // len(commands) - kills * place // len(commands)
        _duration = forked.run(study.copy(folder, folder.with_name("timed")), *command).seconds
        for _ in range(share):
            child = forked.start(folder, *command)
            time.sleep(draw.uniform(0, _duration))
            row.tried += 1
            row.judge(child.kill(), killed=True)
        row.judge(forked.run(folder, *command))
    row.differing(study.repeatable(finished), study.repeatable(folder))
    shutil.rmtree(folder.with_name("timed"))
    return row


def of_drivers(finished: Path, folder: Path, driver: str, kills: int, draw: random.Random, longest: float) -> Row:
    """Kill the driver alone or with all that it started, start it again, and let the last one end.

    As often as it takes: a study that ends between two kills is judged, and the next one begins.
    """
    row = Row(f"kill -9 of {driver}")
    while row.tried < kills:
        shutil.rmtree(folder, ignore_errors=True)
        study.lay(folder)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        while row.tried < kills and not _killed(row, begin(folder, driver), draw, longest):
            pass
        process = begin(folder, driver)
        said = process.communicate()[0]
        row.judge(forked.Outcome(process.returncode, said, 0))
        if process.returncode:
            row.silent.append(f"{driver} did not end by itself: {said[-500:]}")
        row.differing(study.repeatable(finished), study.repeatable(folder))
    return row


def _killed(row: Row, process: subprocess.Popen[str], draw: random.Random, longest: float) -> bool:
    """Kill it at a random moment; whether it had done all its work before."""
    time.sleep(draw.uniform(longest / 10, longest))
    ended = process.poll()
    if ended is None:
        row.tried += 1
        if draw.random() < 0.5:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    said = process.communicate()[0]
    row.judge(forked.Outcome(-9 if ended is None else ended, said, 0), killed=ended is None)
    return ended == 0


def begin(folder: Path, driver: str) -> subprocess.Popen[str]:
    """The driver, leader of a process group of its own."""
    return subprocess.Popen(
        DRIVERS[driver],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def two_at_once(finished: Path, folder: Path) -> Row:
    """Both drivers at the same time; who was refused is started again afterwards."""
    row = Row("two drivers at once")
    study.lay(folder)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    processes = [begin(folder, driver) for driver in DRIVERS]
    for process in processes:
        row.tried += 1
        said = process.communicate()[0]
        row.judge(forked.Outcome(process.returncode, said, 0), killed=process.returncode != 0)
        if process.returncode and "is at work on it" not in said and "waiting for" not in said:
            row.silent.append(said[-300:])
    for driver in DRIVERS:
        process = begin(folder, driver)
        said = process.communicate()[0]
        if process.returncode:
            row.silent.append(f"{driver} afterwards: {said[-300:]}")
    row.differing(study.repeatable(finished), study.repeatable(folder))
    return row

"""What the drivers cost with nothing to do, by the number of runs that a study lists: 50, 150, 500.

    python tests/bench_drivers.py [RUNS ...]

Nothing is trained: every output of a generated study is a small file, and both drivers are told that it is right. It
lies in a clone for that study alone, as docs/drivers.md has it; asked for one pipeline of two, DVC reads both twice.
Core seconds hang on the machine, and wall seconds on what else it does.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from detdistill.core import paths

ROOT = Path(__file__).resolve().parents[1]
STUDY = "many"
PIPELINE = f"params/{STUDY}/dvc.yaml"
DRIVERS = (
    ("snakemake", "--dry-run", "--config", f"study={STUDY}"),
    ("dvc", "status"),
    ("dvc", "repro", PIPELINE),
)


def main(sizes: list[int]) -> None:
    for runs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            listed = _make(Path(folder), runs)
            for driver in DRIVERS:
                wall, core, said = _spent(Path(folder), *driver)
                assert "Nothing to be done" in said or "up to date" in said, said[-2000:]
                lines = f"{listed} runs: {' '.join(driver[:2])} with nothing to do: {core:.1f} core s, {wall:.1f} s"
                print(lines, flush=True)


def _make(root: Path, runs: int) -> int:
    """A finished study of about so many runs, in a copy of the project; returns how many it lists."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for file in filter(None, tracked.split("\0")):
        if (ROOT / file).is_file() and not file.startswith("reports/") and not file.endswith("dvc.lock"):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, root / file)
    shutil.copytree(root / "params/smoke", root / "params" / STUDY)
    file = root / paths.params(STUDY, "study")
    study = yaml.safe_load(file.read_text().replace("smoke", STUDY))
    each, teachers = len(study["plain"]) + len(study["distilled"]), len(study["pairs"])
    study["seeds"] = list(range(round((runs - teachers) / each)))
    file.write_text(yaml.safe_dump(study))
    with (root / ".dvcignore").open("a") as ignored:
        ignored.write("/dvc.yaml\n")
    _run(root, "git", "init", "--quiet")
    _run(root, "detdistill", "pipeline", "--study", STUDY)
    for stage in yaml.safe_load((root / PIPELINE).read_text())["stages"].values():
        for output in [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]:
            place = root / (output if isinstance(output, str) else next(iter(output)))
            place = place / "0.png" if place.name == "images" else place
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"{place}\n")
    _run(root, "snakemake", "--touch", "--forceall", "--config", f"study={STUDY}")
    _run(root, "dvc", "commit", "--force", "--quiet", PIPELINE)
    return teachers + each * len(study["seeds"])


def _run(root: Path, *command: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    done = subprocess.run(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def _spent(root: Path, *command: str) -> tuple[float, float, str]:
    """Wall seconds, core seconds, and what it said."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    said = _run(root, *command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    core = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, core, said


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [50, 150, 500])

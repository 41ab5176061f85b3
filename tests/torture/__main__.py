"""`python -m torture`, in `tests/`: every kind in full, or `--share 0.1` of each. Exit code 1 when one was found."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from . import edits, flips, forked, inputs, kills, study
from .table import Row, show


def main() -> None:
    """Make one study, torture copies of it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the full numbers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="kinds, by the names of the functions")
    parser.add_argument("--finished", type=Path, help="a study that an earlier call has made with --keep")
    parser.add_argument("--keep", type=Path, help="where to leave the study")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    forked.preload()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        rows = _all(asked, Path(folder), draw)
    show(rows)
    sys.exit(1 if any(row.faults for row in rows) else 0)


def _all(asked: argparse.Namespace, root: Path, draw: random.Random) -> list[Row]:
    inputs_only = asked.only and set(asked.only) <= {"slices", "raw", "annotations", "archives"}
    finished = asked.finished or root / "finished"
    if not asked.finished and not inputs_only:
        finished = study.make(asked.keep or finished)

    def of(full: int) -> int:
        return max(1, round(full * asked.share))

    kinds: dict[str, Callable[[], Row]] = {
        "kills": lambda: kills.in_steps(finished, root / "killed", of(84), draw),
        "snakemake": lambda: kills.of_drivers(finished, root / "snakemake", "snakemake", of(8), draw, 20),
        "dvc": lambda: kills.of_drivers(finished, root / "dvc", "dvc", of(8), draw, 20),
        "two": lambda: kills.two_at_once(finished, root / "two"),
        "flips": lambda: flips.noticed(finished, root / "flipped", 20, of(200), draw),
        "printed": lambda: flips.printed(finished, root / "printed", of(20), draw),
        "edits": lambda: edits.under_way(finished, root / "edited", of(20), draw),
        "slices": lambda: inputs.slices(root / "slices", of(120), asked.seed),
        "raw": lambda: inputs.raw_files(root / "raw", of(120), asked.seed),
        "annotations": lambda: inputs.annotations(root / "annotations", of(60), asked.seed),
        "archives": lambda: inputs.archives(root / "archives", of(30), asked.seed),
        "results": lambda: inputs.results(finished, root / "results", of(30), asked.seed),
    }
    rows = []
    for name, kind in kinds.items():
        if not asked.only or name in asked.only:
            rows.append(kind())
            print(
                f"{rows[-1].kind}: {rows[-1].tried} tried, {len(rows[-1].faults)} faults", file=sys.stderr, flush=True
            )
    return rows


if __name__ == "__main__":
    main()

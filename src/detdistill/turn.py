"""Whose turn it is to write the results of a study: Snakemake's, for all of its run, or a single step's, as DVC has it.

The kernel drops the lock with the process that holds it, however that ends.
"""

import fcntl
import os
import re
import sys
from pathlib import Path
from typing import IO

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import explained

VARIABLE = "DETDISTILL_TURN"
"""Tells the steps of a driver which study it has the turn of."""
DRIVER = "snakemake"
_held: dict[Path, IO[str]] = {}


def take(study: str, who: str) -> None:
    """Take the turn until this process ends; a step waits for another step.

    Raises UserError when a driver has it, or when this is a driver and anyone has it.
    """
    if os.environ.get(VARIABLE) == study or os.environ.get("RANK", "0") != "0":
        return  # a step of the driver whose turn it is, or one of several processes of a step
    file = (paths.SCRATCH / "turn" / re.sub(r"\W", "_", study)).resolve()
    if file in _held:
        return
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = open(file, "a+", encoding="utf-8")  # noqa: SIM115  open as long as the process lives
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        other = stream.read()
        if DRIVER in (who, other.partition(",")[0]):
            raise UserError(
                f"study {study!r}: {other} is at work on it in this folder; wait for it, or stop it"
            ) from None
        print(f"study {study!r}: waiting for {other}", file=sys.stderr, flush=True)
        fcntl.flock(stream, fcntl.LOCK_EX)
    stream.truncate(0)
    stream.write(f"{who}, process {os.getpid()},")
    stream.flush()
    _held[file] = stream
    if who == DRIVER:
        os.environ[VARIABLE] = study

"""A driver that was killed leaves Snakemake's lock files behind; this clears them, and only them.

Every driver holds a shared kernel lock, which dies with its process. Who gets it exclusively is alone, so whatever
lock files exist are a dead driver's.
"""

import fcntl
from pathlib import Path

if workflow.is_main_process:
    Path(".snakemake").mkdir(exist_ok=True)
    alive = open(".snakemake/alive", "w")
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for stale in Path(".snakemake/locks").glob("*.lock"):
            stale.unlink()
    except BlockingIOError:
        pass
    fcntl.flock(alive, fcntl.LOCK_SH)


onstart:
    # DVC, or a step typed by hand, may be at work on the same files.
    from detdistill import turn

    try:
        turn.take(STUDY, turn.DRIVER)
    except UserError as error:
        raise WorkflowError(str(error))

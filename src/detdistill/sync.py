"""Tell one driver what the other has finished, after checking that it is true.

Both drivers run the same commands on the same files, but each keeps its own record of what was made from what.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import Literal

from detdistill.core.errors import UserError
from detdistill.pipeline import outdated, pipeline_file
from detdistill.plan import load_plan
from detdistill.verify import verify_results

Driver = Literal["snakemake", "dvc"]

# Made again from the same inputs they are the same bytes; every other step also writes how long it took.
_REPEATABLE = {"summarize", "report"}


def sync(study: str, target: Driver | None = None) -> None:
    """Bring the record of `target`, or of whichever driver is behind, up to date with the results on disk.

    Raises:
        UserError: the other driver has not finished the study, a result is damaged, or the results were not made from
            the present inputs. Nothing is changed then.
    """
    load_plan(study)
    _check_pipeline(study)
    if damaged := [str(found) for found in verify_results(study)[0] if found.damaged]:
        raise UserError(f"{damaged[0]}; `detdistill verify --study {study}` names all of {_count(damaged, 'fault')}")
    if target == "snakemake":
        _require("dvc", study, _pending_in_dvc(study))
        _tell_snakemake(study)
    elif target == "dvc":
        _require("snakemake", study, _pending_in_snakemake(study))
        _tell_dvc(study)
    else:
        _sync_the_one_behind(study)


def _sync_the_one_behind(study: str) -> None:
    snakemake, dvc = _pending_in_snakemake(study), _pending_in_dvc(study)
    if snakemake and dvc:
        raise UserError(
            f"study {study!r}: neither driver has finished it; {_count(snakemake, 'file')} to make for Snakemake, "
            f"{_count(dvc, 'step')} for DVC"
        )
    if snakemake:
        _tell_snakemake(study)
    elif dvc:
        _tell_dvc(study)
    else:
        print(f"study {study!r}: both drivers have nothing to do")


def _tell_snakemake(study: str) -> None:
    _run("snakemake", "--config", f"study={study}", "--touch", "--forceall", "--quiet", "all")
    print(f"study {study!r}: Snakemake now knows what DVC finished")


def _tell_dvc(study: str) -> None:
    if stale := sorted(step for step, changes in _dvc_status(study).items() if _is_stale(step, changes)):
        raise UserError(
            f"study {study!r}: the results of {stale[0]} are still those of other inputs, as DVC recorded them; "
            f"{_count(stale, 'step')} to run again"
        )
    _run("dvc", "commit", "--force", "--quiet", str(pipeline_file(study)))
    print(f"study {study!r}: DVC now knows what Snakemake finished")


def _require(driver: Driver, study: str, pending: list[str]) -> None:
    if pending:
        raise UserError(
            f"study {study!r}: {driver} has not finished it; {_count(pending, 'result')} to make, {pending[0]} first"
        )


def _pending_in_snakemake(study: str) -> list[str]:
    """The outputs that Snakemake would make."""
    lines = _run("snakemake", "--config", f"study={study}", "--summary").splitlines()
    rows = csv.DictReader(lines, delimiter="\t")
    return [row["output_file"] for row in rows if row["plan"] != "no update"]


def _pending_in_dvc(study: str) -> list[str]:
    """The stages that DVC would run."""
    return sorted(_dvc_status(study))


def _dvc_status(study: str) -> dict[str, list[dict[str, object] | str]]:
    """Stage -> what changed since DVC recorded it; a stage without changes is left out."""
    found: dict[str, list[dict[str, object] | str]] = json.loads(
        _run("dvc", "status", "--json", str(pipeline_file(study)))
    )
    return {name.rpartition(":")[2]: changes for name, changes in found.items()}


def _is_stale(step: str, changes: list[dict[str, object] | str]) -> bool:
    """Whether the inputs are new and the outputs are not: an older result was put back, by `dvc checkout` say.

    Snakemake cannot see that, because it compares the inputs with its own record only.
    """
    kinds = {kind for change in changes if isinstance(change, dict) for kind in change}
    return step not in _REPEATABLE and "changed deps" in kinds and "changed outs" not in kinds


def _check_pipeline(study: str) -> None:
    """Raise UserError when the study has no `dvc.yaml`, or one of another plan."""
    if not pipeline_file(study).is_file():
        raise UserError(f"{pipeline_file(study)}: no such file; `detdistill pipeline --study {study}` makes it")
    if told := outdated(study):
        raise UserError(told)


def _run(module: str, *arguments: str) -> str:
    """The standard output of a driver's command. Raises UserError with its last line when it fails."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(f"`{module} {' '.join(arguments)}` failed: {said[-1] if said else 'it said nothing'}")
    return done.stdout


def _count(items: list[str], noun: str) -> str:
    return f"{len(items)} {noun}{'s' if len(items) != 1 else ''}"

"""A whole small study by both drivers: the same bytes, nothing to do afterwards, and the same steps after a change."""

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from detdistill.core.files import sha256

pytestmark = pytest.mark.slow

SNAKEMAKE = ("snakemake", "--config", "study=smoke")
PIPELINE = "params/smoke/dvc.yaml"
# What a run promises to repeat: of training alone, and with the evaluation.
TRAINED = {"model.safetensors", "curve.csv", "learning.json"}
EVALUATED = TRAINED | {"headline.json", "metrics.json", "predictions.safetensors", "maps.safetensors"}
TUNED = {"tuning.json"}
RUNS, TUNINGS = 18, 4
PKD = "params/smoke/faster_rcnn/pkd.yaml"
CHANGED = {
    *(
        f"detdistill {verb} faster_rcnn {recipe} {seed} --study smoke"
        for verb in ("distill", "evaluate")
        for recipe in ("pkd", "pkd_2x")
        for seed in (0, 1)
    ),
    "detdistill tune faster_rcnn pkd --study smoke",
    "detdistill summarize --study smoke",
    "detdistill report --study smoke",
}


@pytest.fixture(scope="module")
def finished(clone):
    """The study by either driver, at the same time: DVC runs one step after another and would leave a core idle."""
    by_snakemake, by_dvc = clone("by_snakemake"), clone("by_dvc")
    with ThreadPoolExecutor() as pool:
        repro = pool.submit(by_dvc.run, "dvc", "repro", PIPELINE)
        by_snakemake.run(*SNAKEMAKE)
        repro.result()
    return by_snakemake, by_dvc


@pytest.fixture(scope="module")
def by_snakemake(finished):
    return finished[0]


@pytest.fixture(scope="module")
def by_dvc(finished):
    return finished[1]


def repeatable(root: Path) -> dict[str, str]:
    """SHA-256 of everything that a run promises to repeat byte for byte."""
    files = [file for file in root.glob("runs/smoke/*/*/*/*") if file.name in EVALUATED | TUNED]
    return {file.relative_to(root).as_posix(): sha256(file) for file in sorted(files)}


def told_by_dvc(clone, *command: str):
    """The JSON in the last line of what DVC printed; warnings come before it."""
    return json.loads(clone.run("dvc", *command, "--json").splitlines()[-1])


def planned_by_snakemake(clone) -> set[str]:
    said = clone.run(*SNAKEMAKE, "--dry-run", "--printshellcmds")
    return set(re.findall(r"Shell command: (detdistill .*?) > ", said))


def planned_by_dvc(clone) -> set[str]:
    said = clone.run("dvc", "repro", "--dry", "--force-downstream", PIPELINE)
    return set(re.findall(r"^> (detdistill .*)$", said, re.MULTILINE))


@contextlib.contextmanager
def weight_changed(clone) -> Iterator[None]:
    """PKD has another weight in here."""
    file = clone.root / PKD
    before = file.read_text()
    file.write_text(before.replace("6.0", "7.0"))
    try:
        yield
    finally:
        file.write_text(before)


def kill(driver, training: bool) -> None:
    """`kill -9` of the driver, and of the training that it started or not."""
    family = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
    for process in family if training else family[:1]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            process.kill()
    driver.wait()
    driver.stdout.close()


def checkpoints(root: Path) -> set[tuple[Path, int]]:
    """Those that trainings have saved, with their times; one that finishes meanwhile removes its own."""
    found = set()
    for file in root.glob(".scratch/*/checkpoint.pt"):
        with contextlib.suppress(FileNotFoundError):
            found.add((file, file.stat().st_mtime_ns))
    return found


def start_and_kill_in_training(clone, *command: str, training: bool) -> None:
    """Run the command until a training has saved a checkpoint, another than an earlier run left."""
    before, driver = checkpoints(clone.root), clone.start(*command)
    while not checkpoints(clone.root) - before:
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.005)
    kill(driver, training)


def test_snakemake_prints_the_report_and_has_nothing_left_to_do(by_snakemake):
    assert (by_snakemake.root / "reports/smoke.pdf").read_bytes().startswith(b"%PDF-")
    assert "Nothing to be done" in by_snakemake.run(*SNAKEMAKE, "--dry-run")


def test_snakemake_puts_the_study_on_one_html_page_and_runs_nothing_for_it(by_snakemake):
    by_snakemake.run(*SNAKEMAKE, "--report", ".scratch/report.html")
    assert '"name": "smoke.pdf"' in (by_snakemake.root / ".scratch/report.html").read_text()
    assert "Nothing to be done" in by_snakemake.run(*SNAKEMAKE, "--dry-run")


def test_both_drivers_make_the_same_bytes(by_snakemake, by_dvc):
    made = repeatable(by_snakemake.root)
    assert len(made) == RUNS * len(EVALUATED) + TUNINGS * len(TUNED)
    assert repeatable(by_dvc.root) == made
    summaries = [(one.root / "reports/smoke/summary.json").read_bytes() for one in (by_snakemake, by_dvc)]
    assert summaries[0] == summaries[1]


def test_seeds_differ(by_snakemake):
    made = repeatable(by_snakemake.root)
    for recipe in ("plain", "plain_2x", "pkd", "pkd_2x", "pkd_chen"):
        first, second = (made[f"runs/smoke/faster_rcnn/{recipe}/{seed}/model.safetensors"] for seed in (0, 1))
        assert first != second


def test_dvc_lists_average_precision(by_dvc):
    [shown] = told_by_dvc(by_dvc, "metrics", "show").values()
    files = {name: file["data"] for name, file in shown["data"].items() if name.startswith("runs/smoke/")}
    assert len(files) == RUNS
    for metrics in files.values():
        assert 0 <= metrics["AP50"] <= 1


def test_dvc_draws_the_learning_curves(by_dvc):
    by_dvc.run("dvc", "plots", "show", "--out", "plots", "runs/smoke/faster_rcnn/pkd/0/curve.csv")
    assert (by_dvc.root / "plots/index.html").stat().st_size > 0


def test_sync_tells_dvc_what_snakemake_finished(by_snakemake):
    assert planned_by_dvc(by_snakemake)
    by_snakemake.run("detdistill", "sync", "--study", "smoke")
    assert told_by_dvc(by_snakemake, "status", PIPELINE) == {}
    assert planned_by_dvc(by_snakemake) == set()


def test_sync_tells_snakemake_what_dvc_finished(by_dvc):
    by_dvc.run("detdistill", "sync", "snakemake", "--study", "smoke")
    assert "Nothing to be done" in by_dvc.run(*SNAKEMAKE, "--dry-run")
    assert told_by_dvc(by_dvc, "status", PIPELINE) == {}
    assert "both drivers" in by_dvc.run("detdistill", "sync", "--study", "smoke")


def test_a_second_clone_pulls_and_has_nothing_to_do(clone, by_dvc, tmp_path):
    """What DVC keeps travels through a remote; the lock, the reports and Snakemake's view of them through Git."""
    by_dvc.run("dvc", "remote", "add", "--default", "--force", "shelf", str(tmp_path / "shelf"))
    by_dvc.run("dvc", "push", PIPELINE)
    second = clone("second")
    for name in (".dvc/config", "params/smoke/dvc.lock"):
        shutil.copy2(by_dvc.root / name, second.root / name)
    shutil.copytree(by_dvc.root / "reports", second.root / "reports")
    second.run("dvc", "pull", PIPELINE)
    assert repeatable(second.root) == repeatable(by_dvc.root)
    assert told_by_dvc(second, "status", PIPELINE) == {}
    assert planned_by_dvc(second) == set()
    second.run("detdistill", "sync", "snakemake", "--study", "smoke")
    assert "Nothing to be done" in second.run(*SNAKEMAKE, "--dry-run")


def test_a_changed_weight_makes_both_drivers_name_the_same_steps(by_snakemake, by_dvc):
    for made in (by_snakemake, by_dvc):
        made.run("detdistill", "sync", "--study", "smoke")
        with weight_changed(made):
            assert planned_by_snakemake(made) == CHANGED
            assert planned_by_dvc(made) == CHANGED
        assert planned_by_snakemake(made) == planned_by_dvc(made) == set()


def test_sync_refuses_what_no_driver_has_finished(by_snakemake):
    by_snakemake.run("detdistill", "sync", "--study", "smoke")
    with weight_changed(by_snakemake):
        for target in ((), ("dvc",), ("snakemake",)):
            assert "finished it" in by_snakemake.run("detdistill", "sync", *target, "--study", "smoke", code=2)
        assert planned_by_dvc(by_snakemake) == CHANGED


def test_sync_refuses_results_of_other_inputs(by_snakemake):
    by_snakemake.run("detdistill", "sync", "--study", "smoke")
    with weight_changed(by_snakemake):
        by_snakemake.run(*SNAKEMAKE, "--touch")
        said = by_snakemake.run("detdistill", "sync", "dvc", "--study", "smoke", code=2)
        assert "still those of other inputs" in said
        assert planned_by_dvc(by_snakemake) == CHANGED


def test_a_killed_driver_and_training_leave_the_same_bytes(clone, by_dvc):
    wanted = [f"runs/smoke/faster_rcnn/{run}/metrics.json" for run in ("plain_2x/1", "pkd_chen/1")]
    made = clone("killed")
    command = ("snakemake", *wanted, "--config", "study=smoke")
    start_and_kill_in_training(made, *command, training=True)
    assert checkpoints(made.root)
    start_and_kill_in_training(made, *command, training=False)
    made.run(*command)
    found, undisturbed = repeatable(made.root), repeatable(by_dvc.root)
    assert len(found) == len(TRAINED) + len(TUNED) + 2 * len(EVALUATED)
    assert found == {name: undisturbed[name] for name in found}

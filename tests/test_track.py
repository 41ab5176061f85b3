"""A training shown by TensorBoard and DVC while it runs: the curve of its results, which are the same without."""

import csv
import json
import subprocess
import sys

import pytest
import yaml
from test_train import DETECTOR, TRAINING, command, digests, write_slice
from test_train import tiny as tiny

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.train import step as train
from detdistill.train.track import FOLDERS, VARIABLE

RUN = "tiny/small/plain/0"
TOLD = "lr", "loss", "loss_classifier", "validation.AP50"


@pytest.fixture(params=FOLDERS)
def tracker(request, monkeypatch):
    pytest.importorskip(request.param)
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


def expected() -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value), from the run's own results."""
    rows = list(csv.DictReader(paths.run("tiny", "small", "plain", 0, "curve.csv").open()))
    points = json.loads(paths.run("tiny", "small", "plain", 0, "learning.json").read_text())
    curves = {name: [(int(row["step"]), float(row[name])) for row in rows] for name in TOLD[:3]}
    return curves | {"validation.AP50": [(point["step"], point["AP50"]) for point in points]}


def shown(tracker: str) -> dict[str, list[tuple[int, float]]]:
    """The same as that tracker's own files say."""
    folder = FOLDERS[tracker] / RUN
    if tracker == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(folder)).Reload()
        return {name: [(each.step, each.value) for each in found.Scalars(name)] for name in TOLD}
    curves = {}
    for name in TOLD:
        rows = list(csv.DictReader((folder / f"plots/metrics/{name}.tsv").open(), delimiter="\t"))
        curves[name] = [(int(row["step"]), float(row[name])) for row in rows]
    return curves


def agree(tracker: str) -> None:
    wanted, found = expected(), shown(tracker)
    for name in TOLD:
        assert found[name] == [(step, pytest.approx(value, rel=1e-6)) for step, value in wanted[name]], name


def test_a_tracker_is_told_the_curve_and_changes_no_byte_of_the_results(tiny, tracker, monkeypatch):
    train.train_student("tiny", "small", "plain", 0)
    agree(tracker)
    tracked = digests("plain")
    monkeypatch.delenv(VARIABLE)
    train.train_student("tiny", "small", "plain", 0)
    assert digests("plain") == tracked


def test_a_resumed_run_tells_every_step_once(tiny, tracker, monkeypatch):
    often = {**TRAINING, "log_every": 1}
    write_slice("small", "student", value={"detector": DETECTOR, "training": often})
    with monkeypatch.context() as patched:
        patched.setattr(train, "save_weights", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.train_student("tiny", "small", "plain", 0)
    train.train_student("tiny", "small", "plain", 0)
    assert len(expected()["loss"]) == TRAINING["steps"]
    agree(tracker)


def test_dvc_shows_a_training_that_it_runs(tiny, monkeypatch):
    pytest.importorskip("dvclive")
    monkeypatch.setenv(VARIABLE, "dvclive")

    def dvc(*arguments: str) -> str:
        done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    subprocess.run(["git", "init", "--quiet"], check=True)
    dvc("init", "--quiet")
    with pytest.raises(UserError, match="dvclive needs a Git repository with a commit"):
        train.train_student("tiny", "small", "plain", 0)
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, "commit", "--quiet", "--message", "first"], check=True)
    stage = {"cmd": " ".join(command("student", "small", "plain", "0")), "outs": ["runs/tiny/small/plain/0"]}
    (tiny / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"student": stage}}))
    dvc("repro")
    [metrics] = json.loads(dvc("metrics", "show", "--json"))[""]["data"].values()
    assert metrics["data"]["step"] == TRAINING["steps"]
    assert metrics["data"]["loss"] == pytest.approx(expected()["loss"][-1][1])
    curves = json.loads(dvc("plots", "show", "--json"))["data"]
    assert {name.partition("::")[2] or name for name in curves} >= {f"dvclive/{RUN}/plots/metrics/loss.tsv"}


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("tensorbord", "no tracker 'tensorbord'; did you mean 'tensorboard'?"),
        ("wandb", "no tracker 'wandb'; allowed: dvclive, tensorboard"),
    ],
)
def test_an_unknown_tracker_is_told_before_any_step(tiny, monkeypatch, named, said):
    monkeypatch.setenv(VARIABLE, named)
    with pytest.raises(UserError) as told:
        train.train_student("tiny", "small", "plain", 0)
    assert str(told.value) == f"{VARIABLE}: {said}"


def test_a_tracker_that_is_not_installed_is_told_with_the_way_to_install_it(tiny, monkeypatch):
    monkeypatch.setenv(VARIABLE, "dvclive, tensorboard")
    monkeypatch.setattr("detdistill.train.track.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"DETDISTILL_TRACKERS: dvclive is not installed: pip install 'detdistill\[dvc"):
        train.train_student("tiny", "small", "plain", 0)

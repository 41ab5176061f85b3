"""What the steps of a study ask a cluster for: by its slices, its cluster.yaml and DETDISTILL_PROCESSES."""

from math import ceil
from pathlib import Path

import pytest
from drivers import snakemake_resources

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.params import load_side, load_study, load_tuning
from detdistill.needs import START_MINUTES, StudyNeeds, load_cluster

ROOT = Path(__file__).resolve().parents[1]
ASKED = ("gpu", "cpus_per_task", "mem_mb", "runtime")


@pytest.fixture(scope="module")
def coco():
    return snakemake_resources(ROOT, "coco")


def test_a_training_of_coco_asks_for_a_gpu_a_core_for_each_loader_and_the_time_of_its_steps(coco):
    once = coco["student", "faster_rcnn_r50", "plain"]
    assert [once[name] for name in ASKED] == [1, 5, 48000, START_MINUTES + 90 * 24]
    longer = coco["student", "faster_rcnn_r50", "plain_2x"]
    assert longer["runtime"] == START_MINUTES + 180 * 24
    assert coco["teacher", "retinanet_r18"]["runtime"] == START_MINUTES + 180 * 24


def test_every_step_says_its_memory_and_time_and_those_that_compute_on_one_a_gpu(coco):
    for command, asked in coco.items():
        assert asked["mem_mb"] > 2000
        assert asked["runtime"] >= 240
        assert asked.get("gpu") == (None if command[0] in ("data", "summarize", "report") else 1), command


def test_a_small_study_asks_for_no_gpu():
    for asked in snakemake_resources(ROOT, "smoke").values():
        assert "gpu" not in asked
        assert asked["mem_mb"] == 2000


def test_a_training_in_several_processes_asks_for_a_gpu_and_cores_for_each(monkeypatch):
    monkeypatch.setenv("DETDISTILL_PROCESSES", "8")
    coco = StudyNeeds(load_study("coco"))
    training = coco.of("distill", "fcos_r50", "pkd")
    assert (training["gpu"], training["cpus_per_task"]) == (8, 40)
    assert coco.of("evaluate", "fcos_r50")["gpu"] == 1


def test_tuning_has_the_time_of_all_its_trials():
    """Those of the budget and one more, each of a share of the schedule, at 60 minutes for 1,000 steps."""
    needs, tuning = StudyNeeds(load_study("smoke")), load_tuning("smoke")
    steps = load_side("smoke", "faster_rcnn", "student").training.steps
    assert tuning.schedule_factor < 1
    trials = (len(tuning.factors) + 1) * tuning.schedule_factor
    assert needs.of("tune", "faster_rcnn", "pkd")["runtime"] == START_MINUTES + ceil(trials * steps / 1000 * 60)
    assert needs.of("student", "faster_rcnn", "plain")["runtime"] == START_MINUTES + ceil(steps / 1000 * 60)


def test_cluster_yaml_is_checked_and_no_step_depends_on_it(clone):
    made = clone("cluster")
    file = made.root / paths.params("smoke", "cluster")
    file.write_text("training: {gpu: 1, mem_mb: 4000}\n")
    assert made.run("detdistill", "check", "--study", "smoke") == ""
    assert snakemake_resources(made.root, "smoke")["teacher", "rt_detr"]["mem_mb"] == 4000
    file.write_text("training: {gpus: 1}\n")
    said = "params/smoke/cluster.yaml: unknown key 'training.gpus'; did you mean 'gpu'?"
    assert made.run("detdistill", "check", "--study", "smoke", code=2) == f"error: {said}\n"
    assert said in made.run("snakemake", "-n", "--config", "study=smoke", code=1)


def test_a_number_of_processes_that_is_none_is_told_before_any_job(monkeypatch):
    monkeypatch.setenv("DETDISTILL_PROCESSES", "all")
    with pytest.raises(UserError, match="DETDISTILL_PROCESSES: a number of processes is needed, found 'all'"):
        StudyNeeds(load_study("coco")).of("teacher", "fcos_r50", paths.TEACHER)


@pytest.mark.parametrize("study", sorted(file.parent.name for file in ROOT.glob("params/*/cluster.yaml")))
def test_every_cluster_yaml_of_the_project_is_whole(study):
    load_cluster(study)

"""Training: the same bytes straight or killed, teacher isolation on disk, and faults that leave no model."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torchvision.models import resnet18

from detdistill import data
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import sha256
from detdistill.core.params import Training, parse
from detdistill.engines.torchvision.faster_rcnn import FasterRCNNDetector
from detdistill.train import step as train
from detdistill.train.optimize import batches, optimizer, scheduler

DETECTOR = {
    "family": "faster_rcnn", "widths": [8, 8], "neck_channels": 8, "anchors": [[12.0], [24.0]], "rpn_batch": 16,
    "rpn_pre_nms": 20, "rpn_post_nms": 10, "roi_batch": 8, "roi_size": 3, "roi_samples": 1, "hidden": 16,
}  # fmt: skip
TRAINING = {"steps": 12, "batch": 2, "lr": 0.002, "log_every": 5, "evaluations": 2, "checkpoint_every": 4}
QUERIES = {
    "family": "rt_detr", "widths": [8, 8], "neck_channels": 8, "hidden": 16, "heads": 2, "feedforward": 16,
    "decoder_layers": 2, "queries": 6, "denoising": 6,
}  # fmt: skip
MANIFEST = "data/tiny/manifest.json"
STUDY = {
    "study": "tiny",
    "title": "Tiny",
    "seeds": [0],
    "pairs": [
        {"pair": "small", "engine": "torchvision", "teacher_from": MANIFEST, "student_from": MANIFEST},
        {"pair": "varied", "engine": "torchvision", "teacher_from": MANIFEST, "student_from": MANIFEST},
        {
            "pair": "queries",
            "engine": "transformers",
            "teacher_from": str(paths.teacher("tiny", "small")),
            "student_from": str(paths.run("tiny", "small", "plain", 0, "model.safetensors")),
        },
    ],
    "plain": [
        {"pair": "small", "recipe": "plain"},
        {"pair": "small", "recipe": "plain_2x"},
        {"pair": "varied", "recipe": "plain"},
        {"pair": "queries", "recipe": "plain"},
    ],
    "distilled": [
        {"pair": "small", "recipe": "pkd"},
        {"pair": "small", "recipe": "chen"},
        {"pair": "small", "recipe": "pkd_2x", "like": "pkd"},
        {"pair": "varied", "recipe": "pkd"},
        {"pair": "queries", "recipe": "kd_detr"},
        {"pair": "queries", "recipe": "pkd", "teacher": "small"},
    ],
}
DATA = {
    "kind": "digits",
    "images": {"train": 8, "val": 4, "test": 4},
    "image_size": 64,
    "digit_size": {"low": 10, "high": 20},
}
CHEN = {"rpn_classes": 0.5, "rpn_boxes": 0.5, "roi_classes": 1.0, "roi_boxes": 0.5}
AUGMENT = {"flip": 0.5, "scale": [0.7, 1.4], "brightness": 0.2, "hue": 0.05}
OUTPUTS = ("model.safetensors", "curve.csv", "learning.json")


def write_slice(*slice_, value):
    path = paths.params("tiny", *slice_)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value))


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A project folder with a study that trains in a second, its data made."""
    monkeypatch.chdir(tmp_path)
    write_slice("study", value=STUDY)
    write_slice("data", value=DATA)
    write_slice("small", "teacher", value={"detector": {**DETECTOR, "widths": [8, 16]}, "training": TRAINING})
    write_slice("small", "student", value={"detector": DETECTOR, "training": TRAINING})
    write_slice("small", "plain", value={})
    write_slice("queries", "plain", value={})
    write_slice("varied", "teacher", value={"detector": {**DETECTOR, "widths": [8, 16]}, "training": TRAINING})
    write_slice("varied", "student", value={"detector": DETECTOR, "training": {**TRAINING, "augment": AUGMENT}})
    write_slice("varied", "plain", value={})
    write_slice("varied", "pkd", value={"methods": {"pkd": {"weight": 6.0}}})
    write_slice("small", "plain_2x", value={"schedule_factor": 2.0})
    write_slice("small", "pkd", value={"methods": {"pkd": {"weight": 6.0}}})
    write_slice("small", "pkd_2x", value={"schedule_factor": 2.0})
    write_slice("small", "chen", value={"methods": {"chen": CHEN}})
    write_slice("queries", "teacher", value={"detector": {**QUERIES, "widths": [8, 16]}, "training": TRAINING})
    write_slice("queries", "student", value={"detector": QUERIES, "training": {**TRAINING, "trunk_lr": 0.1}})
    write_slice("queries", "pkd", value={"methods": {"pkd": {"weight": 6.0}}})
    kd_detr = {"classes": 1.0, "boxes": 5.0, "giou": 2.0, "random_queries": 4}
    write_slice("queries", "kd_detr", value={"methods": {"kd_detr": kd_detr}})
    data.make("tiny")
    return tmp_path


def digests(recipe, pair="small"):
    return {name: sha256(paths.run("tiny", pair, recipe, 0, name)) for name in OUTPUTS}


def command(*verb):
    return [sys.executable, "-m", "detdistill", *verb, "--study", "tiny"]


def test_training_twice_gives_the_same_bytes(tiny):
    train.train_student("tiny", "small", "plain", 0)
    first = digests("plain")
    train.train_student("tiny", "small", "plain", 0)
    assert digests("plain") == first


def test_another_seed_gives_another_model(tiny):
    for seed in (0, 1):
        train.train_student("tiny", "small", "plain", seed)
    models = [sha256(paths.run("tiny", "small", "plain", seed, "model.safetensors")) for seed in (0, 1)]
    assert models[0] != models[1]


def test_validation_and_checkpoints_do_not_change_the_weights(tiny):
    train.train_student("tiny", "small", "plain", 0)
    first = digests("plain")["model.safetensors"]
    often = {**TRAINING, "evaluations": 12, "checkpoint_every": 1, "log_every": 1}
    write_slice("small", "student", value={"detector": DETECTOR, "training": often})
    train.train_student("tiny", "small", "plain", 0)
    assert digests("plain")["model.safetensors"] == first


def test_gradients_are_clipped_unless_the_parameter_is_null(tiny):
    models = {}
    for clip_norm in (None, 1e9, 1e-3):
        value = {"detector": DETECTOR, "training": {**TRAINING, "optimizer": "sgd", "clip_norm": clip_norm}}
        write_slice("small", "student", value=value)
        train.train_student("tiny", "small", "plain", 0)
        models[clip_norm] = digests("plain")["model.safetensors"]
    assert models[None] == models[1e9] != models[1e-3]


@pytest.mark.parametrize(
    ("pair", "recipe"),
    [
        ("small", "plain"),
        ("small", "pkd"),
        pytest.param("varied", "pkd", marks=pytest.mark.slow),
        pytest.param("queries", "kd_detr", marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_gives_the_same_bytes(tiny, pair, recipe):
    train.train_teacher("tiny", "small")
    if pair == "queries":
        train.train_student("tiny", "small", "plain", 0)
    if pair != "small":
        train.train_teacher("tiny", pair)
    train.train_student("tiny", pair, recipe, 0)
    straight = digests(recipe, pair)
    for name in OUTPUTS:
        paths.run("tiny", pair, recipe, 0, name).unlink()
    verb = "student" if recipe == "plain" else "distill"
    codes, said = [], ""
    for _ in range(2):
        process = subprocess.Popen(command(verb, pair, recipe, "0"), stderr=subprocess.PIPE, text=True)
        seen = {file: file.stat().st_mtime_ns for file in Path(".scratch").glob("*/checkpoint.pt")}
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            now = {file: file.stat().st_mtime_ns for file in Path(".scratch").glob("*/checkpoint.pt")}
            if now != seen:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        said += process.communicate()[1]
        codes.append(process.returncode)
    assert -signal.SIGKILL in codes, "each ended before it was killed"
    finished = subprocess.run(command(verb, pair, recipe, "0"), capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "resumed at step" in said + finished.stderr
    assert digests(recipe, pair) == straight
    assert list(Path(".scratch").glob("*/*")) == [Path(".scratch/turn/tiny")]


def test_varied_images_are_the_same_in_any_number_of_processes_and_not_the_plain_ones(tiny):
    train.train_student("tiny", "varied", "plain", 0)
    first = digests("plain", "varied")
    for changes in ({"workers": 2}, {"cache_images": False}):
        training = {**TRAINING, "augment": AUGMENT, **changes}
        write_slice("varied", "student", value={"detector": DETECTOR, "training": training})
        train.train_student("tiny", "varied", "plain", 0)
        assert digests("plain", "varied") == first
    train.train_student("tiny", "small", "plain", 0)
    assert digests("plain")["model.safetensors"] != first["model.safetensors"]


def test_teacher_and_student_see_the_same_varied_images(tiny, monkeypatch):
    train.train_teacher("tiny", "varied")
    seen = {"student": [], "teacher": []}
    step, observe = FasterRCNNDetector.training_step, FasterRCNNDetector.observe

    def student(self, images, *arguments):
        seen["student"].append(images)
        return step(self, images, *arguments)

    def teacher(self, images, *arguments):
        if images[0].any():  # methods look at a blank image to find out sizes
            seen["teacher"].append(images)
        return observe(self, images, *arguments)

    monkeypatch.setattr(FasterRCNNDetector, "training_step", student)
    monkeypatch.setattr(FasterRCNNDetector, "observe", teacher)
    train.train_student("tiny", "varied", "pkd", 0)
    assert len(seen["teacher"]) == TRAINING["steps"]
    for own, others in zip(seen["student"], seen["teacher"], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(own, others, strict=True))


def test_the_teacher_of_another_pair_and_engine_teaches(tiny):
    train.train_teacher("tiny", "small")
    train.train_student("tiny", "small", "plain", 0)
    train.train_student("tiny", "queries", "pkd", 0)
    assert "pkd.neck" in paths.run("tiny", "queries", "pkd", 0, "curve.csv").read_text().splitlines()[0]


def test_the_trunk_learns_at_its_own_rate_from_the_weights_it_was_given(tiny):
    train.train_teacher("tiny", "small")
    before = load_file(paths.teacher("tiny", "small"))
    detector = {**QUERIES, "widths": [8, 16]}
    write_slice("queries", "teacher", value={"detector": detector, "training": {**TRAINING, "trunk_lr": 1e-9}})
    train.train_teacher("tiny", "queries")
    after = load_file(paths.teacher("tiny", "queries"))
    name = "stem.0.weight"
    torch.testing.assert_close(after[f"model.backbone.{name}"], before[f"backbone.{name}"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("damage", [b"", b"cut", b"flipped", b"foreign"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_goes_on(tiny, monkeypatch, capfd, damage):
    train.train_student("tiny", "small", "plain", 0)
    straight = digests("plain")
    with monkeypatch.context() as patched:
        patched.setattr(train, "save_weights", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.train_student("tiny", "small", "plain", 0)
    (file,) = Path(".scratch").glob("*/checkpoint.pt")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({b"cut": content[:1000], b"flipped": content}.get(damage, damage))
    train.train_student("tiny", "small", "plain", 0)
    said = capfd.readouterr().err
    assert f"{file}: damaged, set aside" in said
    assert "resumed at step 4 of 12" in said
    assert digests("plain") == straight


def test_a_slice_edited_as_soon_as_it_is_read_stops_the_run_too(tiny):
    run = train.student_run("tiny", "small", "plain", 0)
    write_slice("small", "plain", value={"schedule_factor": 2.0})
    with pytest.raises(UserError, match=r"params/tiny/small/plain\.yaml: changed while this step ran"):
        train.train(run)
    assert not run.path("model.safetensors").exists()


def test_a_slice_edited_while_its_run_trains_stops_it_before_anything_is_written(tiny, monkeypatch):
    fitted = train.fit

    def edit(*arguments):
        write_slice("small", "plain", value={"schedule_factor": 2.0})
        return fitted(*arguments)

    monkeypatch.setattr(train, "fit", edit)
    with pytest.raises(UserError, match=r"params/tiny/small/plain\.yaml: changed while this step ran; nothing was wri"):
        train.train_student("tiny", "small", "plain", 0)
    assert not paths.run("tiny", "small", "plain", 0, "").exists()


def test_a_longer_schedule_takes_the_methods_of_the_recipe_that_it_is_like(tiny):
    train.train_teacher("tiny", "small")
    train.train_student("tiny", "small", "pkd_2x", 0)
    rows = list(csv.DictReader(paths.run("tiny", "small", "pkd_2x", 0, "curve.csv").open()))
    assert rows[-1]["step"] == "24"
    assert "pkd.neck" in rows[0]


def test_a_changed_parameter_is_not_resumed_from_the_old_checkpoint(tiny, monkeypatch):
    monkeypatch.setattr(train, "save_weights", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train.train_student("tiny", "small", "plain", 0)
    (left,) = Path(".scratch").iterdir()
    write_slice("small", "student", value={"detector": DETECTOR, "training": {**TRAINING, "lr": 0.001}})
    with pytest.raises(KeyboardInterrupt):
        train.train_student("tiny", "small", "plain", 0)
    assert len(list(Path(".scratch").iterdir())) == 2
    assert left.exists()


def test_outputs_are_complete(tiny):
    train.train_teacher("tiny", "small")
    train.train_student("tiny", "small", "pkd", 0)
    rows = list(csv.DictReader(paths.run("tiny", "small", "pkd", 0, "curve.csv").open()))
    assert [row["step"] for row in rows] == ["5", "10", "12"]
    assert {"lr", "loss", "loss_classifier", "pkd.neck"} <= set(rows[0])
    learning = json.loads(paths.run("tiny", "small", "pkd", 0, "learning.json").read_text())
    assert [point["step"] for point in learning] == [6, 12]
    assert [set(point["inside"]) for point in learning] == 2 * [{"area", "native", "pkd"}]
    timing = json.loads(paths.run("tiny", "small", "pkd", 0, "timing.json").read_text())
    assert 0 < timing["training_core_seconds"] < timing["core_seconds"]
    plain = set(load_file(paths.run("tiny", "small", "pkd", 0, "model.safetensors")))
    teacher = load_file(paths.run("tiny", "small", "teacher", 0, "model.safetensors"))
    assert plain == set(teacher), "the exported student is a plain detector: no adapter, no teacher"


def test_a_non_finite_loss_stops_the_run_and_leaves_no_model(tiny):
    write_slice("small", "student", value={"detector": DETECTOR, "training": {**TRAINING, "lr": 1e30}})
    with pytest.raises(UserError, match=r"a loss is not finite at step \d+: loss_classifier "):
        train.train_student("tiny", "small", "plain", 0)
    assert not paths.run("tiny", "small", "plain", 0, "model.safetensors").exists()


def test_a_teacher_of_another_architecture_is_refused(tiny):
    train.train_teacher("tiny", "small")
    write_slice("small", "teacher", value={"detector": {**DETECTOR, "widths": [8, 24]}, "training": TRAINING})
    with pytest.raises(UserError, match=r"teacher/0/model\.safetensors: a checkpoint of another architecture: "):
        train.train_student("tiny", "small", "pkd", 0)


def test_a_missing_teacher_is_told(tiny):
    with pytest.raises(UserError, match=r"teacher/0/model\.safetensors: no such file"):
        train.train_student("tiny", "small", "pkd", 0)


def test_a_checkpoint_that_is_no_safetensors_is_refused(tiny):
    weights = paths.run("tiny", "small", "teacher", 0, "model.safetensors")
    weights.parent.mkdir(parents=True)
    torch.save({"anything": torch.zeros(1)}, weights)
    with pytest.raises(UserError, match="not a safetensors checkpoint"):
        train.train_student("tiny", "small", "pkd", 0)


def test_a_full_disk_leaves_no_model(tiny, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    code = f"{limit}; import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from detdistill.cli import main; main()"  # noqa: E501
    arguments = ["student", "small", "plain", "0", "--study", "tiny"]
    found = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert found.returncode == 2
    assert "error: " in found.stderr
    assert "Traceback" not in found.stderr
    assert not list(paths.run("tiny", "small", "plain", 0, "").glob("*.safetensors*"))


def test_errors_are_one_line_and_exit_code_2(tiny):
    found = subprocess.run(command("student", "small", "plian", "0"), capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        "error: params/tiny/study.yaml: distilled: no recipe 'plian' of pair 'small'; did you mean 'plain'?"
    ]


def test_two_processes_train_one_model(tiny, monkeypatch):
    monkeypatch.setenv("DETDISTILL_PROCESSES", "2")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    done = subprocess.run(command("student", "small", "plain", "0"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("step 12/12") == 1
    model = load_file(paths.run("tiny", "small", "plain", 0, "model.safetensors"))
    assert all(torch.isfinite(value).all() for value in model.values())


def test_two_processes_train_a_method_with_a_term_switched_off(tiny, monkeypatch):
    fgd = {"foreground": 1e-3, "background": 5e-4, "attention": 5e-4, "context": 0.0}
    write_slice("small", "pkd", value={"methods": {"fgd": fgd}})
    train.train_teacher("tiny", "small")
    monkeypatch.setenv("DETDISTILL_PROCESSES", "2")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    done = subprocess.run(command("distill", "small", "pkd", "0"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_batch_that_two_processes_cannot_share_is_told(tiny, monkeypatch):
    monkeypatch.setenv("DETDISTILL_PROCESSES", "2")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    write_slice("small", "student", value={"detector": DETECTOR, "training": {**TRAINING, "accumulate": 2}})
    done = subprocess.run(command("student", "small", "plain", "0"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "batch 2 of 8 images is too small for accumulate 2 in 2 processes" in done.stderr


def test_a_number_of_processes_that_is_none(tiny, monkeypatch):
    monkeypatch.setenv("DETDISTILL_PROCESSES", "all")
    done = subprocess.run(command("teacher", "small"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: DETDISTILL_PROCESSES: a number of processes is needed, found 'all'\n"


def test_every_step_has_its_images_whatever_the_start():
    straight = list(batches(images=10, batch=4, steps=9, seed=3))
    for start in range(9):
        assert list(batches(images=10, batch=4, steps=9, seed=3, start=start)) == straight[start:]
    assert sorted(straight[0] + straight[1])[0] >= 0
    assert len(set(straight[0] + straight[1])) == 8, "no image twice in an epoch"


def test_a_batch_larger_than_the_split_counts_the_images_that_there_are(tiny):
    write_slice("small", "student", value={"detector": DETECTOR, "training": {**TRAINING, "steps": 2, "batch": 20}})
    train.train_student("tiny", "small", "plain", 0)
    learning = json.loads(paths.run("tiny", "small", "plain", 0, "learning.json").read_text())
    assert [point["images"] for point in learning] == [8, 16]


def rates_of(training: Training) -> list[float]:
    optimise = optimizer(torch.nn.Linear(2, 2), [], training)
    schedule, rates = scheduler(optimise, training, training.steps), []
    for _ in range(training.steps):
        rates.append(schedule.get_last_lr()[0])
        optimise.step()
        schedule.step()
    return rates


def test_a_warm_up_of_exactly_one_step_ends_at_the_full_rate():
    """PyTorch's OneCycle alone would divide by zero."""
    training = Training(steps=10, batch=2, lr=0.5, warmup=0.1)
    rates = rates_of(training)
    assert 0.4 < rates[0] <= 0.5
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.001


def test_multistep_warms_up_and_falls_to_a_tenth_at_each_milestone():
    training = Training(steps=10, batch=2, lr=0.5, schedule="multistep", milestones=[0.5, 0.8], warmup=0.2)
    rates = rates_of(training)
    assert rates == pytest.approx([0.25] + [0.5] * 4 + [0.05] * 3 + [0.005] * 2)


def test_a_batch_in_parts_trains_the_same_student(tiny, monkeypatch):
    """Where no normalisation sees the parts, and losses are means over images."""
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", lambda self, x: x)
    dense = {"family": "retinanet", "widths": [8, 8], "neck_channels": 8, "anchors": [[12.0], [24.0]], "candidates": 20}
    models = []
    for parts in (1, 2):
        training = {**TRAINING, "optimizer": "sgd", "lr": 1e-3, "clip_norm": None, "accumulate": parts}
        write_slice("small", "student", value={"detector": dense, "training": training})
        train.train_student("tiny", "small", "plain", 0)
        models.append(load_file(paths.run("tiny", "small", "plain", 0, "model.safetensors")))
    for name, tensor in models[0].items():
        torch.testing.assert_close(models[1][name], tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"accumulate": 3}, "accumulate 3 does not divide batch 2"),
        ({"milestones": [0.9, 0.5]}, "milestones must rise"),
    ],
)
def test_trainings_that_make_no_sense(change, said):
    with pytest.raises(UserError, match=said):
        parse(Training, {"steps": 1, "batch": 2, "lr": 0.1} | change, "f.yaml")


def test_bf16_trains(tiny):
    write_slice("small", "student", value={"detector": DETECTOR, "training": {**TRAINING, "precision": "bf16"}})
    # A process has one precision, so this one is its own.
    done = subprocess.run(command("student", "small", "plain", "0"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    half = load_file(paths.run("tiny", "small", "plain", 0, "model.safetensors"))
    write_slice("small", "student", value={"detector": DETECTOR, "training": TRAINING})
    train.train_student("tiny", "small", "plain", 0)
    whole = load_file(paths.run("tiny", "small", "plain", 0, "model.safetensors"))
    assert all(torch.isfinite(value).all() for value in half.values())
    assert any((half[name] != whole[name]).any() for name in whole)


def test_frozen_stages_train_through_their_validations(tiny):
    """They make the finest map, on which no loss has a gradient."""
    Path("raw").mkdir()
    torch.save(resnet18().state_dict(), "raw/body.pth")
    weights = {"file": "body.pth", "sha256": sha256(Path("raw/body.pth"))}
    sizes = {name: value for name, value in DETECTOR.items() if name not in ("widths", "anchors")}
    detector = {**sizes, "backbone": "resnet18", "weights": weights, "freeze": 2}
    write_slice("small", "teacher", value={"detector": detector, "training": {**TRAINING, "steps": 4}})
    train.train_teacher("tiny", "small")
    learning = json.loads(paths.run("tiny", "small", "teacher", paths.ONCE, "learning.json").read_text())
    assert len(learning) == TRAINING["evaluations"]
    assert all(0 < each["inside"]["native"] < 1 for each in learning)


def test_the_largest_seed_has_its_images(tiny):
    largest = 2**31 - 1
    study = {**STUDY, "seeds": [largest]}
    paths.params("tiny", "study").write_text(yaml.safe_dump(study))
    train.train_student("tiny", "small", "plain", largest)
    assert paths.run("tiny", "small", "plain", largest, "model.safetensors").exists()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_fp16_without_a_gpu_is_told(tiny):
    write_slice("small", "student", value={"detector": DETECTOR, "training": {**TRAINING, "precision": "fp16"}})
    with pytest.raises(UserError, match=r"student\.yaml: training\.precision: fp16 needs a GPU"):
        train.train_student("tiny", "small", "plain", 0)


def test_a_plain_recipe_with_methods_is_told(tiny):
    write_slice("small", "plain", value={"methods": {"pkd": {"weight": 1.0}}})
    with pytest.raises(UserError, match="a recipe listed under `plain` has none"):
        train.train_student("tiny", "small", "plain", 0)

"""A damaged result becomes no figure and no teacher, and `verify` finds what is not as it should be."""

import json

import pytest
from test_train import DETECTOR, TRAINING, write_slice
from test_train import tiny as tiny
from typer.testing import CliRunner

from detdistill.analysis.results import read_learning, read_scenes
from detdistill.cli import app
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.dataset import manifest
from detdistill.evaluate.latency_step import measure_latency
from detdistill.evaluate.step import evaluate
from detdistill.train import step as train
from detdistill.verify import verify

WROTE = (
    *("model.safetensors", "curve.csv", "learning.json"),
    *("metrics.json", "headline.json", "predictions.safetensors", "maps.safetensors"),
)


def run(name, recipe="teacher"):
    return paths.run("tiny", "small", recipe, 0, name)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture
def trained(tiny):
    train.train_teacher("tiny", "small")
    evaluate("tiny", "small", "teacher", 0)
    assert verify("tiny") == ([], 4 + 1 + 7 + 2)
    return tiny


def test_one_flipped_bit_is_found_wherever_it_is(trained):
    for name in (*WROTE, "timing.json", "evaluation.json"):
        whole = run(name).read_bytes()
        flip(run(name))
        assert [found.file for found in verify("tiny")[0] if found.damaged] == [run(name)]
        run(name).write_bytes(whole)
    assert verify("tiny")[0] == []


def test_a_flipped_image_and_a_file_that_is_gone_are_found(trained):
    image = next(iter(sorted(paths.data("tiny", "images").rglob("*.png"))))
    image.write_bytes(image.read_bytes()[:-40])
    run("curve.csv").unlink()
    assert [(found.file, found.damaged) for found in verify("tiny")[0]] == [(run("curve.csv"), True), (image, True)]


def test_altered_annotations_are_found_with_and_without_the_record_of_their_step(trained):
    file = paths.data("tiny", "train.json")
    flip(file)
    assert [found.file for found in verify("tiny")[0]] == [file]
    paths.data("tiny", "timing.json").unlink()
    assert [(found.file, found.damaged) for found in verify("tiny")[0]] == [(file, True)]


def test_what_was_made_from_something_else_is_told_apart_from_damage(trained):
    write_slice("small", "teacher", value={"detector": {**DETECTOR, "widths": [8, 24]}, "training": TRAINING})
    found = verify("tiny")[0]
    assert {each.damaged for each in found} == {False}
    assert [str(each) for each in found] == [
        f"{run(name)}: made from another params/tiny/small/teacher.yaml" for name in ("evaluation.json", "timing.json")
    ]


def test_a_damaged_teacher_neither_teaches_nor_is_evaluated(trained):
    flip(run("model.safetensors"))
    for use in (
        lambda: train.train_student("tiny", "small", "pkd", 0),
        lambda: evaluate("tiny", "small", "teacher", 0),
    ):
        with pytest.raises(UserError, match=r"teacher/0/model\.safetensors: damaged: not what .*timing\.json says was"):
            use()


def test_what_the_report_draws_is_held_to_its_record_too(trained):
    records = manifest.load("tiny").split("val").records
    for name, read in (
        ("learning.json", read_learning),
        ("predictions.safetensors", lambda file: read_scenes(file, "val", records)),
    ):
        read(run(name))
        flip(run(name))
        with pytest.raises(UserError, match=rf"teacher/0/{name}: damaged: not what .*\.json says was written"):
            read(run(name))


def test_a_record_that_was_edited_is_refused(trained):
    timing = json.loads(run("timing.json").read_text())
    run("timing.json").write_text(json.dumps(timing | {"core_seconds": 1.0}))
    with pytest.raises(UserError, match=r"timing\.json: damaged: its content does not match its digest"):
        train.train_student("tiny", "small", "pkd", 0)


def test_a_record_is_held_to_its_bytes_and_to_its_seal(trained):
    whole = run("timing.json").read_bytes()
    for old, new in ((b'"seal"', b'"sebl"'), (b"\n ", b"\n\t")):
        run("timing.json").write_bytes(whole.replace(old, new, 1))
        assert [found.file for found in verify("tiny")[0]] == [run("timing.json")]


def test_latency_says_what_it_was_measured_on(trained):
    train.train_student("tiny", "small", "plain", 0)
    measure_latency("tiny", "small")
    assert verify("tiny")[0] == []
    write_slice("small", "student", value={"detector": {**DETECTOR, "widths": [8, 24]}, "training": TRAINING})
    latency = paths.latency("tiny", "small")
    assert f"{latency}: made from another params/tiny/small/student.yaml" in map(str, verify("tiny")[0])


def test_the_command_says_it_and_ends_with_one(trained):
    assert CliRunner().invoke(app, ["verify", "--study", "tiny"]).exit_code == 0
    flip(run("metrics.json"))
    done = CliRunner().invoke(app, ["verify", "--study", "tiny"])
    assert done.exit_code == 1
    assert done.output.splitlines()[0] == f"{run('metrics.json')}: not what its step wrote"
    assert "1 damaged, 0 made from something that has changed since" in done.output

"""Params: every slice of the project is valid, and each fault is one sentence with file, field, found and allowed."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
import yaml

from detdistill import pipeline
from detdistill.check import check
from detdistill.core import params
from detdistill.core.errors import UserError
from detdistill.core.params import Side, Training, load_study, parse
from detdistill.data import coco

SIDE = {"detector": {"family": "faster_rcnn"}, "training": {"steps": 10, "batch": 2, "lr": 0.1}}


@pytest.mark.parametrize("study", sorted(path.parent.name for path in params.paths.PARAMS.glob("*/study.yaml")))
def test_every_study_of_the_project_is_valid(study):
    engines = {pair.engine for pair in load_study(study).pairs}
    if "detectron2" in engines and importlib.util.find_spec("detectron2") is None:
        pytest.skip("detectron2 is not installed")
    check(study)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stpes": 10}, r"^f\.yaml: unknown key 'training\.stpes'; did you mean 'steps'\?$"),
        ({"steps": "many"}, r"^f\.yaml: training\.steps: .*integer.*, found 'many'$"),
        ({"steps": 0}, r"^f\.yaml: training\.steps: .*greater than 0, found 0$"),
        ({"optimizer": "adam"}, r"^f\.yaml: training\.optimizer: .*'adamw'.*, found 'adam'$"),
        ({"lr": "2e-3"}, r"^f\.yaml: training\.lr: .*number, found '2e-3' \(YAML reads 5e-4 as text; write 5\.0e-4\)$"),
        ({"lr": float("nan")}, r"^f\.yaml: training\.lr: .*, found nan$"),
    ],
)
def test_a_fault_names_file_field_found_and_allowed(change, sentence):
    values = {**SIDE, "training": SIDE["training"] | change}
    with pytest.raises(UserError, match=sentence):
        parse(Side, values, "f.yaml")


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match=r"^f\.yaml: 'lr' is missing$"):
        parse(Training, {"steps": 1, "batch": 1}, "f.yaml")


def test_an_unknown_study_names_the_near_one():
    with pytest.raises(UserError, match="no study 'digit'; did you mean 'digits'"):
        load_study("digit")


def test_an_unknown_pair_and_recipe_name_the_near_ones():
    study = load_study("digits")
    with pytest.raises(UserError, match="no pair 'faster_rcn'; did you mean 'faster_rcnn'"):
        study.pair("faster_rcn")
    with pytest.raises(UserError, match="no recipe 'pdk' of pair 'faster_rcnn'; did you mean 'pkd'"):
        study.recipe("faster_rcnn", "pdk")


@pytest.mark.parametrize(
    "content",
    [
        *(
            "a: [1",
            "\x00",
            "[" * 20_000,
            "a: !!int abc",
            "a: 2026-02-30",
            f"a: {'9' * 5000}",
            "a: !!bool x",
            "a: !!set [b]",
        ),
        *("a: !!timestamp x", 'a: "\\UFFFFFFFF"', "a: !!python/object/apply:os.getcwd []"),
    ],
)
def test_what_is_not_yaml_is_told_in_one_line(tmp_path, content):
    file = tmp_path / "broken.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=r"broken\.yaml: not YAML") as raised:
        params.read_yaml(file)
    assert "\n" not in str(raised.value)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A copy of the parameters of `smoke`, and a function that changes one slice."""
    shutil.copytree(params.paths.PARAMS / "smoke", tmp_path / "params/smoke")
    monkeypatch.chdir(tmp_path)

    def change(slice_, *keys, value):
        path = params.paths.params("smoke", *slice_)
        values = yaml.safe_load(path.read_text())
        inner = values
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(yaml.safe_dump(values))

    return change


def test_what_is_no_file_is_told_at_once(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, said in (("folder", "a folder"), ("loop", "cannot be read"), ("endless", "a device"), ("pipe", "a pipe")):
        with pytest.raises(UserError, match=rf"{name}\.yaml'?: .*{said}"):
            params.read_yaml(tmp_path / f"{name}.yaml")


def run(pair, recipe, **more):
    return {"pair": pair, "recipe": recipe, **more}


PLAN, STUDENT, PKD = ("study",), ("faster_rcnn", "student"), ("faster_rcnn", "pkd")
OWN, OTHER = "runs/smoke/faster_rcnn/plain/0/model.safetensors", "runs/smoke/rt_detr/plain/0/model.safetensors"


@pytest.mark.parametrize(
    ("slice_", "keys", "value", "sentence"),
    [
        (PLAN, ("seeds",), [0, 0], r"study\.yaml: seeds: 0 is listed twice"),
        (PLAN, ("seeds",), [], r"study\.yaml: seeds: .* at least 1 item"),
        (
            PLAN,
            ("pairs", 0, "engine"),
            "torchvison",
            r"study\.yaml: .*no engine 'torchvison'; did you mean 'torchvision'",
        ),
        (PLAN, ("plain", 1), run("faster_rcnn", "plain"), "recipes: 'faster_rcnn plain' is listed twice"),
        (PLAN, ("plain", 1), run("faster_rcnn", "pkd"), "recipes: 'faster_rcnn pkd' is listed twice"),
        (PLAN, ("plain", 1), run("faster_rcnn", "teacher"), "'faster_rcnn teacher': the name is that of a pair's own"),
        (PLAN, ("plain", 2), run("faster_rcnn", "plain_3x"), "plain: no recipe of pair 'rt_detr'"),
        (PLAN, ("distilled", 0), run("faster_rcn", "pkd"), "no pair 'faster_rcn'; did you mean 'faster_rcnn'"),
        (PLAN, ("distilled", 4, "teacher"), "faster_rcn", "no pair 'faster_rcn'; did you mean 'faster_rcnn'"),
        (PLAN, ("distilled", 1, "like"), "pdk", "pkd_2x: like: no recipe 'pdk' of its own methods; did you mean 'pkd'"),
        (PLAN, ("distilled", 1, "like"), "pkd_2x", "like: no recipe 'pkd_2x' of its own methods"),
        (
            PLAN,
            ("distilled", 1, "teacher"),
            "rt_detr",
            "pkd_2x: teacher: 'rt_detr', where 'pkd', which it is like, has",
        ),
        (("faster_rcnn", "pkd_2x"), ("schedule_factor",), 1.0, "1, and 'pkd', which it is like, has 1; a longer one"),
        (PLAN, ("pairs", 0, "student_from"), OWN, "student_from: cannot begin with"),
        (
            PLAN,
            ("pairs", 1, "student_from"),
            OWN.replace("/0/", "/7/"),
            "student_from: cannot begin with .*did you mean",
        ),
        (PLAN, ("pairs", 0, "student_from"), OTHER, "each waits for the other: student of .* <- student of"),
        (("data",), ("kind",), "digit", r"data\.yaml: kind: no kind of data 'digit'; did you mean 'digits'"),
        (("data",), ("klasses",), 3, r"data\.yaml: unknown key 'klasses'; did you mean 'classes'"),
        (("tuning",), ("seed",), 1, r"tuning\.yaml: seed: 1 is held out"),
        (("tuning",), ("factors",), [0.0, 1.0], r"tuning\.yaml: factors\.0: .*greater than"),
        (("tuning",), ("factors",), [1.0, 1.0], "factors must differ"),
        (("tuning",), ("share",), float("inf"), r"tuning\.yaml: share: .*finite"),
        (STUDENT, ("detector", "std"), [0.0, 0.2, 0.2], r"std\.0: .*greater than 0"),
        (STUDENT, ("detector", "family"), ["faster_rcnn"], r"no family \['faster_rcnn'\]"),
        (("rt_detr", "student"), ("detector", "heads"), 3, r"rt_detr/student\.yaml: .*heads"),
        (("data",), ("kind",), ["digits"], r"data\.yaml: kind: no kind of data \['digits'\]"),
        (("data",), ("images", "train"), 10**30, r"data\.yaml: images\.train: .*less than or equal"),
        (("tuning",), ("schedule_factor",), 0.01, "schedule_factor: 0.01 of 12 steps is not one step"),
        (STUDENT, ("detector", "family"), "faster_rcn", "no family 'faster_rcn'; did you mean"),
        (STUDENT, ("detector", "widths"), [8, 0], r"student\.yaml: detector: widths\.1: "),
        (STUDENT, ("detector", "anchors"), [[8.0]], "one list of sizes a level"),
        (PKD, ("methods",), {"pdk": {"weight": 1.0}}, "no method 'pdk'; did you mean 'pkd'"),
        (PKD, ("methods",), {"pkd": {}}, r"pkd\.yaml: methods\.pkd: 'weight' is missing"),
        (PKD, ("methods",), {}, "a distilled run needs at least one"),
        (PKD, ("methods",), {"crosskd": {}}, r"pkd\.yaml: methods\.crosskd"),
        (PKD, ("schedule_factor",), 3.0, "3 has no plain student of faster_rcnn to be compared with"),
        (("faster_rcnn", "pkd_2x"), ("methods",), {"pkd": {"weight": 1.0}}, "those of 'pkd' are taken"),
        (("faster_rcnn", "plain"), ("methods",), {"pkd": {"weight": 1.0}}, "lists under `plain` has none"),
        (("faster_rcnn", "plain"), ("schedule_factor",), 2.0, "another plain recipe has 2 too"),
    ],
)
def test_check_finds_it_before_any_work(study, slice_, keys, value, sentence):
    study(slice_, *keys, value=value)
    with pytest.raises(UserError, match=sentence):
        check("smoke")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stpes": 1, "batch": 2, "lr": 0.1}, "unknown key 'stpes'; did you mean 'steps'?"),
        (
            {"steps": 1, "batch": 2, "lr": 0.1, "precision": False},
            'precision: .*found False .YAML reads no as false; write "no".',
        ),
    ],
)
def test_what_was_meant_is_said(values, said):
    with pytest.raises(UserError, match=said):
        params.parse(params.Training, values, "f.yaml")


@pytest.mark.parametrize("parts", [{"annotations": "a", "image": "x"}, [{"annotations": "a", "image": "x"}]])
def test_a_key_inside_a_list_of_a_mapping_has_its_neighbours(parts):
    with pytest.raises(UserError, match=r"unknown key 'splits\.train\.0\.image'; did you mean 'images'\?"):
        params.parse(coco.Params, {"kind": "coco", "splits": {"train": parts}}, "data.yaml")


def test_two_recipes_of_one_schedule_like_the_same_are_found(study):
    params.paths.params("smoke", "faster_rcnn", "again").write_text("schedule_factor: 2.0\n")
    plan = yaml.safe_load(params.paths.params("smoke", "study").read_text())
    again = run("faster_rcnn", "again", like="pkd")
    study(PLAN, "distilled", value=[*plan["distilled"], again])
    with pytest.raises(UserError, match=r"again\.yaml: schedule_factor: another recipe like 'pkd' has it, too"):
        check("smoke")


def test_a_class_named_twice_is_found(study):
    values = {"kind": "voc", "folder": ".", "splits": {"train": ["a"], "test": ["b"]}, "classes": ["RBC", "RBC"]}
    params.paths.params("smoke", "data").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"data\.yaml: classes: .*'RBC' is there twice"):
        check("smoke")


def test_check_notes_a_slice_that_nothing_reads_and_an_outdated_pipeline(study):
    assert check("smoke") == []
    params.paths.params("smoke", "faster_rcnn", "mine").write_text("methods:\n  pkd: {weight: 2.0}\n")
    pipeline.write("smoke")
    assert check("smoke") == [
        "params/smoke/faster_rcnn/mine.yaml: study.yaml lists no such recipe, so nothing reads it"
    ]
    study(PLAN, "distilled", value=[run("faster_rcnn", "mine")])
    assert "params/smoke/dvc.yaml: not the DAG of the parameters any more" in " ".join(check("smoke"))


def test_every_key_of_a_training_is_explained():
    page = Path("params/README.md").read_text(encoding="utf-8")
    assert [name for name in params.Training.model_fields if f"`{name}`" not in page] == []

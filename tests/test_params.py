"""Params: every slice of the project is valid, and each fault is one sentence with file, field, found and allowed."""

import importlib.util

import pytest
import yaml

from detdistill.check import check
from detdistill.core import params
from detdistill.core.errors import UserError
from detdistill.core.params import Side, Training, load_study, parse

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


@pytest.mark.parametrize("content", ["a: [1", "\x00"])
def test_what_is_not_yaml_is_told_in_one_line(tmp_path, content):
    file = tmp_path / "broken.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=r"broken\.yaml: not YAML") as raised:
        params.read_yaml(file)
    assert "\n" not in str(raised.value)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A copy of the digits parameters, and a function that changes one slice."""
    for path in params.paths.PARAMS.glob("digits/**/*.yaml"):
        copy = tmp_path / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    monkeypatch.chdir(tmp_path)

    def change(slice_, *keys, value):
        path = params.paths.params("digits", *slice_)
        values = yaml.safe_load(path.read_text())
        inner = values
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(yaml.safe_dump(values))

    return change


@pytest.mark.parametrize(
    ("slice_", "keys", "value", "sentence"),
    [
        (("study",), ("pairs", 0, "engine"), "torchvison", "no engine 'torchvison'; did you mean 'torchvision'"),
        (("study",), ("seeds",), [], r"study\.yaml: seeds: .* at least 1 item"),
        (("faster_rcnn", "student"), ("detector", "family"), "faster_rcn", "no family 'faster_rcn'; did you mean"),
        (("faster_rcnn", "student"), ("detector", "widths"), [8, 0, 8], r"student\.yaml: detector: widths\.1: "),
        (("faster_rcnn", "student"), ("detector", "anchors"), [[8.0]], "one list of sizes a level"),
        (("faster_rcnn", "pkd"), ("methods",), {"pdk": {"weight": 1.0}}, "no method 'pdk'; did you mean 'pkd'"),
        (("faster_rcnn", "pkd"), ("methods",), {"pkd": {}}, r"pkd\.yaml: methods\.pkd: 'weight' is missing"),
        (("faster_rcnn", "pkd"), ("methods",), {}, "a distilled run needs at least one"),
        (("faster_rcnn", "pkd"), ("methods",), {"fgd": {}}, "does not hold cnn/neck/fgd.py"),
        (("faster_rcnn", "plain"), ("methods",), {"pkd": {"weight": 1.0}}, "lists under `plain` has none"),
    ],
)
def test_check_finds_it_before_any_work(study, slice_, keys, value, sentence):
    study(slice_, *keys, value=value)
    with pytest.raises(UserError, match=sentence):
        check("digits")


def test_check_refuses_a_method_on_a_detector_without_its_tap(study):
    study(("faster_rcnn", "pkd"), "methods", value={"crosskd": {}})
    study(
        ("study",),
        "distilled",
        value=[{"pair": "faster_rcnn", "engine": "torchvision", "recipe": "pkd", "code": "cnn/head/crosskd.py"}],
    )
    with pytest.raises(UserError, match=r"pkd\.yaml: methods\.crosskd"):
        check("digits")

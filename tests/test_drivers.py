"""Snakefile and dvc.yaml are one DAG: the same commands with the same inputs and outputs, and those of paths.py."""

from pathlib import Path

import pytest
import yaml
from drivers import Step, dvc_steps, folders_filled, imports_of, snakemake_steps

from detdistill.core import paths
from detdistill.core.params import load_study

ROOT = Path(__file__).resolve().parents[1]
STUDIES = {"digits": Path("dvc.yaml"), "smoke": Path("params/smoke/dvc.yaml")}

METHODS = ROOT / "src/detdistill/distill"
TRAINED = ("model.safetensors", "curve.csv", "learning.json", "timing.json")
EVALUATED = ("headline.json", "metrics.json", "detections.json", "latency.json")
DATA = ("images", "train.json", "val.json", "test.json", "manifest.json", "timing.json")
FIGURES = ("taxonomy", "gains", "curves", "cost", "detections", "dag")

# The folders below src/detdistill that DVC takes whole.
WHOLE = ("core", "data", "dataset", "detectors", "distill", "engines", "evaluate", "report", "train")

REPORTING = ("summarize", "report")

# What each verb imports beside the engine, the kind of data and the methods, which it finds by name.
ENTRIES = {
    "data": "detdistill.data",
    "teacher": "detdistill.train.step",
    "start": "detdistill.train.step",
    "student": "detdistill.train.step",
    "distill": "detdistill.train.step",
    "evaluate": "detdistill.evaluate.step",
    "summarize": "detdistill.report.summarize",
    "report": "detdistill.report.step",
}


@pytest.fixture(scope="module")
def project(clone):
    return clone("project").root


@pytest.fixture(scope="module", params=STUDIES)
def study(request):
    return request.param


@pytest.fixture(scope="module")
def snakemake(project, study) -> dict[str, Step]:
    return snakemake_steps(project, study)


@pytest.fixture(scope="module")
def dvc(project, study) -> dict[str, Step]:
    return dvc_steps(project, STUDIES[study])


def test_both_drivers_run_the_same_commands(snakemake, dvc):
    assert set(snakemake) == set(dvc)


def test_each_command_has_the_same_inputs_and_outputs(project, snakemake, dvc):
    filled = folders_filled(project, dvc)
    for command, step in snakemake.items():
        assert step.outputs == filled[command].outputs, command
        assert step.inputs == filled[command].inputs, command


def test_each_command_reads_and_writes_what_paths_says(study, snakemake):
    expected = _expected(study)
    assert set(snakemake) == set(expected)
    for command, step in snakemake.items():
        assert step.outputs == expected[command].outputs, command
        assert {name for name in step.inputs if not name.startswith("src/")} == expected[command].inputs, command


def test_every_imported_module_is_an_input_and_nothing_else_is(project, study, snakemake, dvc):
    for command, step in snakemake.items():
        whole = {name for name in dvc[command].inputs if name.startswith("src/") and (project / name).is_dir()}
        declared = {file for file in step.inputs if file.startswith("src/")}
        inside = {file for file in declared if any(file.startswith(f"{folder}/") for folder in whole)}
        assert declared == imports_of(project, *_entries(study, command)) | inside, command


def test_no_step_depends_on_a_folder(snakemake):
    folders = {paths.data(study, "images").as_posix() for study in STUDIES}
    for command, step in snakemake.items():
        assert not [name for name in step.inputs if name in folders or not Path(name).suffix], command


def test_dvc_has_a_folder_only_where_files_cannot_be_listed(project, study, dvc):
    outputs = {output for step in dvc.values() for output in step.outputs}
    folders = {name for step in dvc.values() for name in step.inputs if not Path(name).suffix} - outputs
    loaded = load_study(study)
    codes = {f"src/detdistill/distill/{run.code}" for run in loaded.taught}
    engines = {f"src/detdistill/engines/{pair.engine}" for pair in loaded.pairs}
    whole = {f"runs/{study}", *(f"src/detdistill/{name}" for name in WHOLE)}
    assert folders <= whole | codes | engines


def test_commands_carry_identity_only(study, snakemake):
    runs = _runs(study)
    for command in snakemake:
        program, verb, *identity, option, name = command.split()
        assert (program, option, name) == ("detdistill", "--study", study)
        assert not identity or verb in ("teacher", "start") or tuple(identity) in runs


def test_the_two_halves_are_every_run_and_each_evaluates_its_own(project, study, snakemake):
    halves = {name: set(snakemake_steps(project, study, name)) for name in ("cnn", "transformer")}
    assert halves["cnn"] | halves["transformer"] == {each for each in snakemake if each.split()[1] not in REPORTING}
    evaluated = [{each for each in commands if each.split()[1] == "evaluate"} for commands in halves.values()]
    assert all(evaluated)
    assert not evaluated[0] & evaluated[1]


def test_a_further_study_has_the_same_pipeline(project):
    root = yaml.safe_load((project / "dvc.yaml").read_text())
    for file in project.glob("params/*/dvc.yaml"):
        other = yaml.safe_load(file.read_text())
        assert [f"{file.parent.relative_to(project)}/{each}" for each in other["vars"]] == [
            each.replace("params/digits", f"params/{file.parent.name}") for each in root["vars"]
        ]
        assert {stage.pop("wdir") for stage in other["stages"].values()} == {"../.."}
        assert other["stages"] == root["stages"]


def test_studies_that_the_repository_holds_agree_with_the_pipeline_maker(project):
    made = (project / "params/smoke/dvc.yaml").read_text()
    for file in ROOT.glob("params/*/dvc.yaml"):
        assert file.read_text() == made, f"{file}: run `make -B {file.relative_to(ROOT)}`"


def _runs(study: str) -> list[tuple[str, str, str]]:
    """(pair, recipe, seed) of every run, teachers included."""
    loaded = load_study(study)
    students = [*loaded.plain, *loaded.taught]
    return [
        *((each.pair, paths.TEACHER, str(paths.ONCE)) for each in loaded.pairs),
        *((each.pair, each.recipe, str(seed)) for each in students for seed in loaded.seeds),
    ]


def _entries(study: str, command: str) -> list[str]:
    """The modules that a command starts with: its verb's, and those that it finds by name."""
    _, verb, *identity, _, _ = command.split()
    loaded = load_study(study)
    entries = [ENTRIES[verb]]
    if verb == "data":
        entries.append(f"detdistill.data.{yaml.safe_load(paths.params(study, 'data').read_text())['kind']}")
    if identity:
        entries.append(f"detdistill.engines.{loaded.pair(identity[0]).engine}")
    if verb == "distill":
        run = loaded.recipe(*identity[:2])
        entries.append(f"detdistill.engines.{run.teaching.engine}")
        code = METHODS / run.code
        files = code.rglob("*.py") if code.is_dir() else [code]
        entries += [".".join(file.relative_to(ROOT / "src").with_suffix("").parts) for file in files]
    return entries


def _expected(study: str) -> dict[str, Step]:
    """Command -> what it reads, source aside, and what it writes, by paths.py.

    The params of a run reach the statistics through the run, whose timing a new training changes.
    """
    plan, manifest = paths.params(study, "study"), paths.data(study, "manifest.json")
    steps: dict[str, tuple[list[Path], list[Path]]] = {}
    results: list[Path] = []
    teaching = {(each.pair, each.recipe): each.teaching.pair for each in load_study(study).taught}
    begins = {each.pair: each for each in load_study(study).pairs}
    for pair, listed in begins.items():
        outputs = [paths.run(study, pair, paths.START, paths.ONCE, name) for name in TRAINED]
        slices = [paths.params(study, pair, name) for name in ("student", "start")]
        steps[f"start {pair}"] = [manifest, Path(listed.student_from), *slices], outputs
        results += outputs
    for pair, recipe, seed in _runs(study):
        teacher, student, own = (paths.params(study, pair, name) for name in ("teacher", "student", recipe))
        trained, evaluated = (
            [paths.run(study, pair, recipe, seed, name) for name in names] for names in (TRAINED, EVALUATED)
        )
        side = student
        if recipe == paths.TEACHER:
            side = teacher
            steps[f"teacher {pair}"] = [manifest, teacher, Path(begins[pair].teacher_from)], trained
        elif (pair, recipe) not in teaching:
            steps[f"student {pair} {recipe} {seed}"] = [manifest, student, own, paths.start(study, pair)], trained
        else:
            other = teaching[pair, recipe]
            taught = [paths.params(study, other, "teacher"), paths.teacher(study, other)]
            inputs = [manifest, *taught, student, own, paths.start(study, pair)]
            steps[f"distill {pair} {recipe} {seed}"] = inputs, trained
        steps[f"evaluate {pair} {recipe} {seed}"] = [manifest, side, trained[0]], evaluated
        results += trained + evaluated
    data = [paths.data(study, name) for name in DATA]
    figures = [paths.figure(study, name) for name in FIGURES]
    summarized = [paths.summary(study), paths.summary(study).with_name("timing.json")]
    shown = [*summarized, paths.data(study, "val.json"), paths.data(study, "timing.json")]
    steps["data"] = [paths.params(study, "data")], data
    steps["summarize"] = [plan, *results], summarized
    steps["report"] = [plan, manifest, *shown, *results], [paths.report(study), *figures]
    return {
        f"detdistill {command} --study {study}": Step(
            frozenset(map(Path.as_posix, inputs)), frozenset(map(Path.as_posix, outputs))
        )
        for command, (inputs, outputs) in steps.items()
    }

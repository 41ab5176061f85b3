"""Snakefile and dvc.yaml are one DAG: the same commands with the same inputs and outputs, and those of paths.py."""

import shutil
from pathlib import Path

import pytest
import yaml
from drivers import Step, dvc_steps, folders_filled, imports_of, snakemake_steps

from detdistill import pipeline
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.params import load_study, load_tuning

ROOT = Path(__file__).resolve().parents[1]
STUDIES = {"digits": Path("dvc.yaml"), "smoke": Path("params/smoke/dvc.yaml")}

METHODS = ROOT / "src/detdistill/distill"
TRAINED = ("model.safetensors", "curve.csv", "learning.json", "timing.json")
EVALUATED = ("headline.json", "metrics.json", "predictions.safetensors", "maps.safetensors", "evaluation.json")
TUNED = ("tuning.json", "timing.json")
DATA = ("images", "train.json", "val.json", "test.json", "manifest.json", "timing.json")
SUMMARIZED = ("summary.json", "cost.json", "timing.json")
FIGURES = ("taxonomy", "gains", "curves", "schedules", "cost", "pareto", "classes", "detections", "maps", "dag")

# The folders below src/detdistill that DVC takes whole.
WHOLE = ("analysis", "core", "data", "dataset", "detectors", "distill", "evaluate", "report", "train")

REPORTING = ("summarize", "report")

# What each verb imports beside the engine, the kind of data and the methods, which it finds by name.
ENTRIES = {
    "data": "detdistill.data",
    "teacher": "detdistill.train.step",
    "student": "detdistill.train.step",
    "tune": "detdistill.tune",
    "distill": "detdistill.train.step",
    "evaluate": "detdistill.evaluate.step",
    "latency": "detdistill.evaluate.latency_step",
    "summarize": "detdistill.analysis.summarize",
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
    engines = {f"src/detdistill/engines/{pair.engine}" for pair in load_study(study).pairs}
    assert folders <= {f"runs/{study}", *(f"src/detdistill/{name}" for name in WHOLE)} | engines


def test_commands_carry_identity_only(study, snakemake):
    runs = _runs(study)
    for command in snakemake:
        program, verb, *identity, option, name = command.split()
        assert (program, option, name) == ("detdistill", "--study", study)
        named = [run for run in runs if run[: len(identity)] == tuple(identity)]
        assert len(identity) == {"teacher": 1, "latency": 1, "tune": 2}.get(verb, 3 if identity else 0)
        assert named, command


def test_the_two_halves_are_every_run_and_each_evaluates_its_own(project, study, snakemake):
    halves = {name: set(snakemake_steps(project, study, name)) for name in ("cnn", "transformer")}
    assert halves["cnn"] | halves["transformer"] == {each for each in snakemake if each.split()[1] not in REPORTING}
    evaluated = [{each for each in commands if each.split()[1] == "evaluate"} for commands in halves.values()]
    assert all(evaluated)
    assert not evaluated[0] & evaluated[1]


def test_a_stage_is_called_what_it_does(project, study):
    """By a name that no other run's coming or going changes: a lock's entries stay those of the same runs."""
    file = project / STUDIES[study]
    named = {name: stage["cmd"] for name, stage in yaml.safe_load(file.read_text())["stages"].items()}
    for name, command in named.items():
        _, verb, *identity, _, _ = command.split()
        assert name == "-".join([verb, *identity])


def test_the_committed_pipeline_is_what_the_parameters_make():
    assert pipeline.outdated(paths.DEFAULT_STUDY) is None


def test_a_stage_that_is_no_more_leaves_the_lock(tmp_path, monkeypatch):
    shutil.copytree(paths.PARAMS / "smoke", tmp_path / "params/smoke")
    monkeypatch.chdir(tmp_path)
    lock = Path("params/smoke/dvc.lock")
    entry = "    cmd: detdistill data --study smoke\n"
    lock.write_text(f"schema: '2.0'\nstages:\n  data:\n{entry}")
    before = lock.read_text()
    pipeline.write("smoke")
    assert lock.read_text() == before
    lock.write_text(f"{before}  data@0:\n{entry}")
    pipeline.write("smoke")
    assert lock.read_text() == before
    lock.write_text("stages: []\n")
    with pytest.raises(UserError, match=r"dvc\.lock: no record of DVC's; remove it, and DVC runs every step anew"):
        pipeline.write("smoke")


@pytest.mark.parametrize(
    ("right", "wrong", "field"),
    [
        ("- pair: faster_rcnn", '- pair: "x&touch PWNED&"', "pairs.0.pair"),
        ("recipe: pkd}", 'recipe: "$(touch PWNED)"}', "distilled.0.recipe"),
        ("teacher: faster_rcnn}", 'teacher: "a;b"}', "distilled.4.teacher"),
        ("seeds: [0, 1]", 'seeds: ["0; touch PWNED"]', "seeds.0"),
    ],
)
def test_nothing_that_is_no_plain_name_gets_into_a_pipeline(tmp_path, monkeypatch, right, wrong, field):
    shutil.copytree(paths.PARAMS / "smoke", tmp_path / "params/smoke")
    monkeypatch.chdir(tmp_path)
    plan = paths.params("smoke", "study")
    assert right in plan.read_text()
    plan.write_text(plan.read_text().replace(right, wrong))
    with pytest.raises(UserError, match=rf"study\.yaml: {field}: .*, found "):
        pipeline.write("smoke")
    assert not Path("params/smoke/dvc.yaml").exists()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("mini&touch PWNED&", "'mini&touch PWNED&' cannot name a study: letters, digits and underscores are allowed"),
        ("../smoke", "'../smoke' cannot name a study"),
        ("smok", "params/smok/study.yaml: no study 'smok'; did you mean 'smoke'?"),
    ],
)
def test_snakemake_runs_nothing_for_a_study_that_is_none(clone, named, said):
    made = clone("named")
    found = made.run("snakemake", "--config", f"study={named}", code=1)
    assert said in found
    assert "Shell command" not in found
    assert not list(made.root.rglob("PWNED*"))


def test_snakemake_runs_nothing_of_a_plan_with_commands_in_it(clone):
    made = clone("planned")
    plan = made.root / "params/smoke/study.yaml"
    right = plan.read_text()
    for old, new, said in (
        ("recipe: pkd}", 'recipe: "pkd&touch PWNED&"}', "distilled.0.recipe"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "seeds: 0 is listed twice"),
        ("teacher_from: data/smoke/manifest.json", 'teacher_from: "$(touch PWNED)"', "cannot begin with"),
    ):
        plan.write_text(right.replace(old, new))
        assert said in made.run("snakemake", "--config", "study=smoke", code=1)
        assert not list(made.root.rglob("PWNED*"))


def _runs(study: str) -> list[tuple[str, str, str]]:
    """(pair, recipe, seed) of every run, teachers included."""
    loaded = load_study(study)
    return [
        *((each.pair, paths.TEACHER, str(paths.ONCE)) for each in loaded.pairs),
        *((each.pair, each.recipe, str(s)) for each in [*loaded.plain, *loaded.distilled] for s in loaded.seeds),
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
    if verb in ("distill", "tune"):
        run = loaded.recipe(*identity[:2])
        entries.append(f"detdistill.engines.{loaded.pair(run.teaching).engine}")
        known = {file.stem: file for file in METHODS.glob("*/*/*.py")}
        methods = yaml.safe_load(paths.params(study, run.pair, run.source).read_text())["methods"]
        entries += [".".join(known[each].relative_to(ROOT / "src").with_suffix("").parts) for each in methods]
    return entries


def _expected(study: str) -> dict[str, Step]:
    """Command -> what it reads, source aside, and what it writes, by paths.py.

    The params of a run reach the statistics through the run, whose timing a new training changes.
    """
    plan, manifest, budget = paths.params(study, "study"), paths.data(study, "manifest.json"), load_tuning(study)
    loaded = load_study(study)
    pairs = {each.pair: each for each in loaded.pairs}
    steps: dict[str, tuple[list[Path], list[Path]]] = {}

    def model(pair: str, recipe: str, seed: object) -> Path:
        return paths.run(study, pair, recipe, str(seed), "model.safetensors")

    def train(command: str, inputs: list[Path], *run: str) -> None:
        steps[command] = [manifest, *inputs], [paths.run(study, *run, name) for name in TRAINED]

    for pair, listed in pairs.items():
        sides = [paths.params(study, pair, side) for side in ("teacher", "student")]
        train(f"teacher {pair}", [Path(listed.teacher_from), sides[0]], pair, "teacher", "0")
        timed = [model(pair, "teacher", 0), model(pair, "plain", loaded.seeds[0])]
        steps[f"latency {pair}"] = [manifest, *sides, *timed], [paths.latency(study, pair)]
    for run in [*loaded.plain, *loaded.distilled]:
        own = [paths.params(study, run.pair, name) for name in ("student", run.recipe)]
        own.append(Path(pairs[run.pair].student_from))
        if run in loaded.plain:
            for seed in map(str, loaded.seeds):
                train(f"student {run.pair} {run.recipe} {seed}", own, run.pair, run.recipe, seed)
            continue
        own += [paths.params(study, run.teaching, "teacher"), paths.teacher(study, run.teaching)]
        if budget and not run.like:
            tuned = [paths.tuning(study, run.pair, run.recipe, name) for name in TUNED]
            steps[f"tune {run.pair} {run.recipe}"] = [manifest, *own, paths.params(study, "tuning")], tuned
        if run.like:
            own.append(paths.params(study, run.pair, run.like))
        if budget:
            source = paths.tuning(study, run.pair, run.like or run.recipe, "tuning.json")
            own += [source, paths.params(study, "tuning")]
        for seed in map(str, loaded.seeds):
            train(f"distill {run.pair} {run.recipe} {seed}", own, run.pair, run.recipe, seed)
    for pair, recipe, seed in _runs(study):
        side = paths.params(study, pair, "teacher" if recipe == "teacher" else "student")
        evaluated = [paths.run(study, pair, recipe, seed, name) for name in EVALUATED]
        steps[f"evaluate {pair} {recipe} {seed}"] = [manifest, side, model(pair, recipe, seed)], evaluated
    results = [file for _, outputs in steps.values() for file in outputs]
    summarized = [paths.summary(study).with_name(name) for name in SUMMARIZED]
    shown = [*summarized, *(paths.data(study, name) for name in ("manifest.json", "val.json", "timing.json"))]
    steps["data"] = [paths.params(study, "data")], [paths.data(study, name) for name in DATA]
    steps["summarize"] = [plan, manifest, paths.data(study, "test.json"), *results], summarized
    printed = [paths.report(study).with_suffix(kind) for kind in (".pdf", ".html")]
    printed += [paths.figure(study, name) for name in FIGURES]
    steps["report"] = [plan, *shown, *results], printed
    return {
        f"detdistill {command} --study {study}": Step(
            frozenset(map(Path.as_posix, inputs)), frozenset(map(Path.as_posix, outputs))
        )
        for command, (inputs, outputs) in steps.items()
    }

"""What the rules share: which runs the study has, and which source modules each step imports."""

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, "src")  # the package of this very tree, if it has one, whichever is installed

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.params import load_tuning
from detdistill.plan import load_plan
from detdistill import stages
from detdistill.needs import StudyNeeds
from detdistill.stages import FIGURES, method_sources

try:
    # Names that are no plain names end here, before any of them is part of a command.
    PLAN = load_plan(STUDY)
    TUNED = load_tuning(STUDY) is not None
    NEEDS = StudyNeeds(PLAN)
    METHODS = {
        (run.pair, run.recipe): [file.as_posix() for file in method_sources(STUDY, run)] for run in PLAN.distilled
    }
except UserError as error:
    raise WorkflowError(str(error))

PAIRS = [pair.pair for pair in PLAN.pairs]
TAUGHT = {(run.pair, run.recipe): run for run in PLAN.distilled}
RUNS = [
    *[(pair, "teacher", 0) for pair in PAIRS],
    *[(run.pair, run.recipe, seed) for run in [*PLAN.plain, *PLAN.distilled] for seed in PLAN.seeds],
]

# For `--sdm conda`; without it, every step runs in the environment that Snakemake runs in.
DETECTRON2 = any(pair.engine == "detectron2" for pair in PLAN.pairs)
ENVIRONMENT = "../envs/detectron2.yaml" if DETECTRON2 else "../envs/locked.yaml"

TRAINED = ["model.safetensors", "curve.csv", "learning.json", "timing.json"]
EVALUATED = ["headline.json", "metrics.json", "predictions.safetensors", "maps.safetensors", "evaluation.json"]


def any_of(names):
    """A wildcard's pattern that matches these names, or nothing when there are none."""
    return "|".join(sorted(set(names))) or "(?!)"


wildcard_constraints:
    study=STUDY,
    pair=any_of(PAIRS),
    plain=any_of(run.recipe for run in PLAN.plain),
    distilled=any_of(recipe for _, recipe in TAUGHT),
    seed=r"\d+",


SOURCE = stages.source()


def source(folder, *modules):
    """The files of these modules of one folder of the package."""
    return [str(SOURCE / folder / f"{module}.py") for module in modules]


def everything(folder):
    """Every source file of one folder of the package."""
    return [str(file) for file in stages.everything(SOURCE / folder)]


# A step depends on every module that it imports, and on theirs; tests/test_drivers.py walks the imports to check.
READING = everything("core") + everything("dataset")
DETECTING = READING + everything("detectors")
EVALUATING = DETECTING + everything("evaluate")
JUDGING = [
    *READING,
    *source("detectors", "__init__", "base"),
    *source("distill", "__init__", "answers", "base", "taxonomy"),
    *source("evaluate", "predict", "predictions"),
    *everything("analysis"),
]
TRAINING = [
    *DETECTING,
    *everything("train"),
    *source("distill", "__init__", "answers", "base"),
    *source("evaluate", "coco", "predict"),
]


def engine(wildcards):
    """The source of the engine that owns this pair's detectors."""
    return everything(Path("engines", PLAN.pair(wildcards.pair).engine))


def teacher_from(wildcards):
    """What the teacher begins with: the data alone, or the weights of another pair."""
    return PLAN.pair(wildcards.pair).teacher_from


def student_from(wildcards):
    """The same of the pair's students."""
    return PLAN.pair(wildcards.pair).student_from


def taught(wildcards):
    """What study.yaml says of this distilled run."""
    return TAUGHT[wildcards.pair, wildcards.distilled]


def teaching(wildcards):
    """The teacher of a distilled run, its own pair's or another one's: parameters, weights, and its engine's source."""
    pair = PLAN.pair(taught(wildcards).teaching)
    files = [f"params/{STUDY}/{pair.pair}/teacher.yaml", f"runs/{STUDY}/{pair.pair}/teacher/0/model.safetensors"]
    return files + everything(Path("engines", pair.engine))


def methods(wildcards):
    """The source of the recipe's methods."""
    return METHODS[wildcards.pair, wildcards.distilled]


def weights(wildcards):
    """Where a distilled run takes its methods and their weights from, beside its own slice."""
    run = taught(wildcards)
    slices = [f"params/{STUDY}/{run.pair}/{run.like}.yaml"] if run.like else []
    tuned = [f"params/{STUDY}/tuning.yaml", f"runs/{STUDY}/{run.pair}/{run.source}/tuning/tuning.json"]
    return slices + (tuned if TUNED else [])


def needs(verb):
    """What a step asks a cluster for, as its slices and the study's cluster.yaml say."""

    def one(resource):
        def asked(wildcards):
            recipe = wildcards.get("plain") or wildcards.get("distilled") or "teacher"
            try:
                return NEEDS.of(verb, wildcards.get("pair", ""), recipe)[resource]
            except UserError as error:
                raise WorkflowError(str(error))

        return asked

    return {resource: one(resource) for resource in ("gpu", "cpus_per_task", "mem_mb", "runtime")}


def side(wildcards):
    """The parameters of the detector that a run trained."""
    return str(paths.side(wildcards.study, wildcards.pair, wildcards.recipe))


def timed_student(wildcards):
    """The plain student whose latency stands for its architecture."""
    plain = PLAN.stand_in(wildcards.pair)
    return f"runs/{STUDY}/{wildcards.pair}/{plain}/{PLAN.seeds[0]}/model.safetensors"


def results(pairs):
    """Every output of every run of these pairs."""
    tuned = [run for run in PLAN.distilled if TUNED and not run.like and run.pair in pairs]
    return [
        *[f"runs/{STUDY}/{pair}/latency.json" for pair in pairs],
        *[f"runs/{STUDY}/{run.pair}/{run.recipe}/tuning/{name}.json" for run in tuned for name in ("tuning", "timing")],
        *[
            f"runs/{STUDY}/{pair}/{recipe}/{seed}/{name}"
            for pair, recipe, seed in RUNS
            if pair in pairs
            for name in TRAINED + EVALUATED
        ],
    ]


def half(transformer):
    """The pairs of one half of the taxonomy."""
    return [pair.pair for pair in PLAN.pairs if (pair.engine == "transformers") == transformer]

"""What the rules share: which runs the study has, and which source modules each step imports."""

from pathlib import Path

PAIRS = [pair["pair"] for pair in config["pairs"]]
LISTED = {pair["pair"]: pair for pair in config["pairs"]}
TAUGHT = {(run["pair"], run["recipe"]): run for run in config["distilled"] + config["across"]}
RUNS = [
    *[(pair, "teacher", 0) for pair in PAIRS],
    *[(run["pair"], run["recipe"], seed) for run in config["plain"] for seed in config["seeds"]],
    *[(run["pair"], run["recipe"], seed) for run in TAUGHT.values() for seed in config["seeds"]],
]

# For `--sdm conda`: Detectron2 comes from conda-forge; the other engines are in the environment that Snakemake runs in.
DETECTRON2 = any(pair["engine"] == "detectron2" for pair in config["pairs"])
ENVIRONMENT = "../envs/detectron2.yaml" if DETECTRON2 else None

TRAINED = ["model.safetensors", "curve.csv", "learning.json", "timing.json"]
EVALUATED = ["headline.json", "metrics.json", "detections.json", "latency.json"]


def any_of(names):
    """A wildcard's pattern that matches these names, or nothing when there are none."""
    return "|".join(sorted(set(names))) or "(?!)"


wildcard_constraints:
    study=STUDY,
    pair=any_of(PAIRS),
    plain=any_of(run["recipe"] for run in config["plain"]),
    distilled=any_of(recipe for _, recipe in TAUGHT),
    seed=r"\d+",


def source(folder, *modules):
    """The files of these modules of one folder below src/detdistill."""
    return [str(Path("src/detdistill", folder, f"{module}.py")) for module in modules]


def everything(path):
    """The file, or every source file below the folder."""
    path = Path(path)
    below = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return sorted(map(str, below)) if path.is_dir() else str(path)


# A step depends on every module that it imports, and on theirs; tests/test_drivers.py walks the imports to check.
CORE = everything("src/detdistill/core")
READING = CORE + everything("src/detdistill/dataset")
DETECTING = READING + everything("src/detdistill/detectors")
EVALUATING = DETECTING + everything("src/detdistill/evaluate")
TRAINING = [
    *DETECTING,
    *everything("src/detdistill/train"),
    *source("distill", "__init__", "base"),
    *source("evaluate", "coco", "predict"),
]


def engine(wildcards):
    """The source of the engine that owns this pair's detectors."""
    return everything(Path("src/detdistill/engines", LISTED[wildcards.pair]["engine"]))


def teacher_from(wildcards):
    """What the teacher begins with: the data alone, or the weights of another pair."""
    return LISTED[wildcards.pair]["teacher_from"]


def student_from(wildcards):
    """The same of the weights that every student starts from."""
    return LISTED[wildcards.pair]["student_from"]


def taught(wildcards):
    """What study.yaml says of this distilled run."""
    return TAUGHT[wildcards.pair, wildcards.distilled]


def engines(wildcards):
    """The source of the engines of student and teacher: the pair's, or across pairs all of them."""
    return everything("src/detdistill/engines") if "teacher" in taught(wildcards) else engine(wildcards)


def methods(wildcards):
    """The source of the recipe's methods: `code` of study.yaml, a module or a folder of them."""
    return everything(f"src/detdistill/distill/{taught(wildcards)['code']}")


def teacher(wildcards):
    """The teacher of a distilled run, its own pair's or another one's: parameters and weights."""
    pair = taught(wildcards).get("teacher", wildcards.pair)
    return [f"params/{STUDY}/{pair}/teacher.yaml", f"runs/{STUDY}/{pair}/teacher/0/model.safetensors"]


def side(wildcards):
    """The parameters of the detector that a run trained."""
    name = "teacher" if wildcards.recipe == "teacher" else "student"
    return f"params/{wildcards.study}/{wildcards.pair}/{name}.yaml"


def results(pairs):
    """Every output of every run of these pairs."""
    starts = [f"runs/{STUDY}/{pair}/start/0/{name}" for pair in pairs for name in TRAINED]
    return starts + [
        f"runs/{STUDY}/{pair}/{recipe}/{seed}/{name}"
        for pair, recipe, seed in RUNS
        if pair in pairs
        for name in TRAINED + EVALUATED
    ]


def half(transformer):
    """The pairs of one half of the taxonomy."""
    return [pair for pair in PAIRS if (LISTED[pair]["engine"] == "transformers") == transformer]

"""The parameter slices of a study: what each YAML may say, and one clear sentence when it says something else.

One slice is one file, because a file is the unit that Snakemake and DVC watch.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detdistill.core import paths
from detdistill.core.errors import UserError, near

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]


class Slice(BaseModel):
    """Base of every slice: unknown keys and loose types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


SliceT = TypeVar("SliceT", bound=BaseModel)


class Trained(Slice):
    """What every line of a study names: the pair, and the engine that owns its detectors."""

    pair: Name
    engine: Name


class Pair(Trained):
    """A teacher and a student of one family, and what the two begin with.

    `teacher_from` and `student_from` are files. The manifest of the data means that training begins from nothing. The
    teacher or the start of another pair means that backbone and neck begin with its weights.
    """

    teacher_from: str
    student_from: str


class PlainRun(Trained):
    """A student that no teacher helps: the same-recipe baseline, or the longer schedule."""

    recipe: Name


class DistilledRun(PlainRun):
    """A recipe of methods; `code` is where they are defined, below `src/detdistill/distill`."""

    code: str

    @property
    def teaching(self) -> Trained:
        """The pair whose teacher it learns from, and that pair's engine."""
        return self


class AcrossRun(DistilledRun):
    """A recipe whose teacher is another pair's, of whatever family and engine."""

    teacher: Name
    teacher_engine: Name

    @property
    def teaching(self) -> Trained:
        return Trained(pair=self.teacher, engine=self.teacher_engine)


class Study(Slice):
    """`study.yaml`: the runs that make up a study."""

    study: Name
    title: str
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    pairs: Annotated[list[Pair], Field(min_length=1)]
    plain: list[PlainRun]
    distilled: list[DistilledRun]
    across: list[AcrossRun]

    @property
    def taught(self) -> list[DistilledRun]:
        """Every run that a teacher helps."""
        return [*self.distilled, *self.across]

    def pair(self, name: str) -> Pair:
        """The pair of that name. Raises UserError with the near name."""
        for pair in self.pairs:
            if pair.pair == name:
                return pair
        allowed = [pair.pair for pair in self.pairs]
        raise UserError(f"{paths.params(self.study, 'study')}: pairs: no pair {name!r}{near(name, allowed)}")

    def recipe(self, pair: str, name: str) -> PlainRun | DistilledRun:
        """The listed recipe of that pair. Raises UserError with the near name."""
        self.pair(pair)
        listed = [run for run in [*self.plain, *self.taught] if run.pair == pair]
        for run in listed:
            if run.recipe == name:
                return run
        allowed = [run.recipe for run in listed]
        raise UserError(
            f"{paths.params(self.study, 'study')}: distilled: no recipe {name!r} of pair {pair!r}{near(name, allowed)}"
        )


class Training(Slice):
    """How a run is trained. Rates are per step, `warmup` is a share of all steps.

    Warm-up and gradient clipping are on by default: small detectors trained from nothing diverge without them.
    """

    steps: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(gt=0)]
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)]
    trunk_lr: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The rate of backbone and neck, as a share of `lr`: below 1 where they begin trained and the rest does not."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["onecycle", "multistep"] = "onecycle"
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = [0.67, 0.89]
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip_norm: Annotated[float, Field(gt=0)] | None = 5.0
    """The largest norm of all gradients together; null leaves them as they are."""
    accumulate: Annotated[int, Field(gt=0)] = 1
    precision: Literal["no", "fp16", "bf16"] = "no"
    threads: Annotated[int, Field(gt=0)] = 1
    workers: Annotated[int, Field(ge=0)] = 0
    cache_images: bool = True
    """Keep decoded images in memory; for data that do not fit, false reads each one when it is needed."""
    log_every: Annotated[int, Field(gt=0)] = 20
    evaluations: Annotated[int, Field(gt=0)] = 4
    """How often a run is validated, evenly over its steps and at the end."""
    evaluate_images: Annotated[int, Field(gt=0)] = 200
    checkpoint_every: Annotated[int, Field(gt=0)] = 200


class Side(Slice):
    """`teacher.yaml` or `student.yaml` of a pair: the detector, in its engine's own words, and its training."""

    detector: dict[str, Any]
    training: Training


class Recipe(Slice):
    """`RECIPE.yaml` of a pair: the methods with their weights, and a factor on the student's number of steps.

    `start.yaml` is one without methods: how long the weights are trained that every student starts from.
    """

    schedule_factor: Annotated[float, Field(gt=0)] = 1.0
    methods: dict[str, dict[str, Any]] = {}


def parse(schema: type[SliceT], values: Any, where: str) -> SliceT:
    """Validate `values` against `schema`; the first fault becomes one sentence that starts with `where`."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        raise UserError(f"{where}: unknown key {field!r}{near(field.rsplit('.')[-1], _keys_at(schema, fault['loc']))}")
    if fault["type"] == "missing":
        raise UserError(f"{where}: {field!r} is missing")
    hint = " (YAML reads 5e-4 as text; write 5.0e-4)" if _looks_like_a_number(fault["input"]) else ""
    raise UserError(f"{where}: {field}: {fault['msg'][0].lower()}{fault['msg'][1:]}, found {fault['input']!r}{hint}")


def _looks_like_a_number(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+e[-+]?\d+", value, re.IGNORECASE) is not None


def _keys_at(schema: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys that are allowed where an unknown one was found, following the location through nested models."""
    model: Any = schema
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = [arg for arg in getattr(annotation, "__args__", ()) if isinstance(arg, type)]
        model = inner[-1] if inner else annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises UserError when it is missing or is not YAML."""
    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def load_study(study: str) -> Study:
    """`params/STUDY/study.yaml`. Raises UserError, with the near name for an unknown study."""
    path = paths.params(study, "study")
    if not path.exists():
        known = sorted(file.parent.name for file in paths.PARAMS.glob("*/study.yaml"))
        raise UserError(f"{path}: no study {study!r}{near(study, known)}")
    loaded = parse(Study, read_yaml(path), str(path))
    if loaded.study != study:
        raise UserError(f"{path}: study: must be the folder's name {study!r}, found {loaded.study!r}")
    return loaded


def load_side(study: str, pair: str, side: Literal["teacher", "student"]) -> Side:
    """`params/STUDY/PAIR/teacher.yaml` or `student.yaml`."""
    path = paths.params(study, pair, side)
    return parse(Side, read_yaml(path), str(path))


def load_recipe(study: str, pair: str, recipe: str) -> Recipe:
    """`params/STUDY/PAIR/RECIPE.yaml`."""
    path = paths.params(study, pair, recipe)
    return parse(Recipe, read_yaml(path) or {}, str(path))

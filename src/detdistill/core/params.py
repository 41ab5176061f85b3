"""The parameter slices of a study: what each YAML may say, and one clear sentence when it says something else.

One slice is one file, because a file is the unit that Snakemake and DVC watch.
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from detdistill.core import paths
from detdistill.core.errors import UserError, near
from detdistill.core.files import read_bytes

NAME = "[A-Za-z0-9][A-Za-z0-9_]{0,63}"
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
"""Of what becomes part of a path and of a command."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Slice(BaseModel):
    """Base of every slice: unknown keys, loose types, infinities and what is no number are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


SliceT = TypeVar("SliceT", bound=BaseModel)


class Pair(Slice):
    """A teacher and a student of one family, the engine that owns them, and what the two begin with.

    `teacher_from` and `student_from` are files. The manifest of the data means that training begins from nothing. A
    model of another pair, its teacher's or a plain student's, means that backbone and neck begin with its weights.
    """

    pair: Name
    engine: Name
    teacher_from: str
    student_from: str


class PlainRun(Slice):
    """A student of that pair that no teacher helps, on the schedule that its slice says."""

    pair: Name
    recipe: Name


class DistilledRun(PlainRun):
    """A recipe of methods.

    `teacher` is the pair whose teacher it learns from, by default its own. `like` names a recipe of the same pair and
    teacher whose methods and tuned weights it takes, on another schedule.
    """

    teacher: Name | None = None
    like: Name | None = None

    @property
    def teaching(self) -> str:
        """The pair whose teacher it learns from."""
        return self.teacher or self.pair

    @property
    def source(self) -> str:
        """The recipe whose slice says its methods and whose tuning their weights."""
        return self.like or self.recipe


class Study(Slice):
    """`study.yaml`: the runs that make up a study."""

    study: Name
    title: Annotated[str, Field(max_length=200)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    pairs: Annotated[list[Pair], Field(min_length=1)]
    plain: list[PlainRun]
    distilled: list[DistilledRun]

    def pair(self, name: str) -> Pair:
        """The pair of that name. Raises UserError with the near name."""
        for pair in self.pairs:
            if pair.pair == name:
                return pair
        allowed = [pair.pair for pair in self.pairs]
        raise UserError(f"{paths.params(self.study, 'study')}: pairs: no pair {name!r}{near(name, allowed)}")

    def stand_in(self, pair: str) -> str:
        """The plain recipe whose student stands for all of that pair: they are one architecture."""
        return next(run.recipe for run in self.plain if run.pair == pair)

    def recipe(self, pair: str, name: str) -> PlainRun | DistilledRun:
        """The listed recipe of that pair. Raises UserError with the near name."""
        self.pair(pair)
        listed = [run for run in [*self.plain, *self.distilled] if run.pair == pair]
        for run in listed:
            if run.recipe == name:
                return run
        allowed = [run.recipe for run in listed]
        raise UserError(
            f"{paths.params(self.study, 'study')}: distilled: no recipe {name!r} of pair {pair!r}{near(name, allowed)}"
        )


Change = Annotated[float, Field(ge=0, le=1)]
"""The largest change of a colour's property, as a share of it: 0.2 is a factor of 0.8 to 1.2."""


class Augmentation(Slice):
    """How each training image is varied, anew at each step; what is left out stays as it is."""

    flip: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The probability of a mirror, left to right. Not for what a mirror makes another thing, as it does digits."""
    scale: Annotated[list[Annotated[float, Field(ge=0.1, le=10)]], Field(min_length=2, max_length=2)] = [1.0, 1.0]
    """The least and the largest factor of an image's width and height. The image keeps its number of pixels: a larger
    one is cropped at a random place, a smaller one lies at a random place on grey."""
    brightness: Change = 0.0
    contrast: Change = 0.0
    saturation: Change = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """The largest turn of the colour circle."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: the least factor comes first, found {self.scale}")
        return self


class Training(Slice):
    """How a run is trained. Rates are per step, `warmup` is a share of all steps.

    Warm-up and gradient clipping are on by default: small detectors trained from nothing diverge without them.
    """

    steps: Annotated[int, Field(gt=0, le=100_000_000)]
    batch: Annotated[int, Field(gt=0, le=65_536)]
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
    accumulate: Annotated[int, Field(gt=0, le=65_536)] = 1
    precision: Literal["no", "fp16", "bf16"] = "no"
    ask_teacher: Literal["each_step", "once"] = "each_step"
    """Of a student: whether the teacher looks at a batch at each step, or once at every image, its answers kept on the
    disk; once needs images of one size and no augmentation. The last bits of a result may depend on it."""
    augment: Augmentation | None = None
    """How training images are varied; a student and its teacher see the same ones. null: as they are."""
    threads: Annotated[int, Field(gt=0, le=1024)] = 1
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    cache_images: bool = True
    """Keep decoded images in memory; for data that do not fit, false reads each one when it is needed."""
    log_every: Annotated[int, Field(gt=0)] = 20
    evaluations: Annotated[int, Field(gt=0, le=1000)] = 4
    """How often a run is validated, evenly over its steps and at the end."""
    evaluate_images: Annotated[int, Field(gt=0)] = 200
    checkpoint_every: Annotated[int, Field(gt=0)] = 200

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate {self.accumulate} does not divide batch {self.batch}")
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError("milestones must rise")
        if self.augment is not None and self.ask_teacher == "once":
            raise ValueError("ask_teacher: 'once' needs images that `augment` does not vary; 'each_step' takes them")
        return self


class Side(Slice):
    """`teacher.yaml` or `student.yaml` of a pair: the detector, in its engine's own words, and its training."""

    detector: dict[str, Any]
    training: Training


class Recipe(Slice):
    """`RECIPE.yaml` of a pair: the methods with their weights, and a factor on the student's number of steps.

    Where the study tunes, weights count in relation to one another: tuning scales each method as a whole.
    """

    schedule_factor: Annotated[float, Field(ge=0.001, le=1000)] = 1.0
    methods: dict[str, dict[str, Any]] = {}


class Tuning(Slice):
    """`tuning.yaml` of a study: the budget that every recipe gets to find its weight, on the validation split.

    A method's unit is the weight at which its gradient on the student has `share` of the native gradient's norm. Tried
    are `factors` of it, and one more where the best one is the least or the largest.
    """

    seed: Seed
    """Held out: no run of the study may have it."""
    share: Annotated[float, Field(gt=0)] = 0.3
    factors: Annotated[list[Annotated[float, Field(ge=1e-6, le=1e6)]], Field(min_length=2)] = [0.25, 1, 4, 16]
    schedule_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the student's steps."""

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.factors)) < len(self.factors):
            raise ValueError("factors must differ from one another")
        return self


def parse(schema: type[SliceT], values: Any, where: str) -> SliceT:
    """Validate `values` against `schema`; one fault becomes one sentence that starts with `where`.

    An unknown key comes first, since a misspelt one is missing under its own name.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
    fault = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])
    field = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        raise UserError(f"{where}: unknown key {field!r}{near(field.rsplit('.')[-1], _keys_at(schema, fault['loc']))}")
    if fault["type"] == "missing":
        raise UserError(f"{where}: {field!r} is missing")
    if fault["type"] == "value_error" and isinstance(fault["input"], dict):  # of several fields, which it names itself
        raise UserError(f"{where}: {f'{field}: ' if field else ''}{fault['ctx']['error']}")
    hint = " (YAML reads 5e-4 as text; write 5.0e-4)" if _looks_like_a_number(fault["input"]) else ""
    if fault["type"] == "literal_error" and fault["input"] is False and "'no'" in fault["msg"]:
        hint = ' (YAML reads no as false; write "no")'
    message = fault["msg"].removeprefix("Value error, ")
    raise UserError(f"{where}: {field}: {message[0].lower()}{message[1:]}, found {fault['input']!r}{hint}")


def _looks_like_a_number(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+e[-+]?\d+", value, re.IGNORECASE) is not None


def _keys_at(schema: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys that are allowed where an unknown one was found, following the location through nested models."""
    model: Any = schema
    for part in location[:-1]:
        if part not in model.model_fields:
            continue  # a place in a list, a key of a mapping
        inner = _models_in(model.model_fields[part].annotation)
        if not inner:
            return []
        model = inner[-1]
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type is made of: of `dict[str, list[Part]]`, `Part`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


AS_READ: dict[Path, str] = {}
"""Absolute path of a YAML file -> the SHA-256 of what this process read of it last."""


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises UserError when it is missing, is not YAML or says a key twice."""
    content = read_bytes(path)
    AS_READ[path.resolve()] = hashlib.sha256(content).hexdigest()
    try:
        return yaml.load(content.decode(), _UniqueKeys)
    except RecursionError:
        raise UserError(f"{path}: not YAML that a study needs: nested too deep") from None
    except _UNREADABLE as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


# PyYAML's own faults at a tag whose value is none, such as `!!bool x`, and at an escape beyond Unicode, among them.
_UNREADABLE = (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, OverflowError)


class _UniqueKeys(yaml.SafeLoader):
    """YAML forbids equal keys in a mapping; PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_study(study: str) -> Study:
    """`params/STUDY/study.yaml`. Raises UserError, with the near name for an unknown study."""
    if not re.fullmatch(NAME, study):
        raise UserError(f"{study!r} cannot name a study: letters, digits and underscores are allowed")
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


def load_tuning(study: str) -> Tuning | None:
    """`params/STUDY/tuning.yaml`, or None: then the weights are those of the recipes' slices."""
    path = paths.params(study, "tuning")
    return parse(Tuning, read_yaml(path), str(path)) if path.exists() else None


def load_recipe(study: str, pair: str, recipe: str) -> Recipe:
    """`params/STUDY/PAIR/RECIPE.yaml`."""
    path = paths.params(study, pair, recipe)
    return parse(Recipe, read_yaml(path) or {}, str(path))

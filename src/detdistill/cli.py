"""The command line: one verb a step of the workflow, the same command under Snakemake and DVC.

It only dispatches; each verb imports its module when it runs, so that `detdistill --help` and errors come at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from detdistill.core.errors import UserError

TRAINING = ("teacher", "start", "student", "distill")
app = typer.Typer(
    help="Knowledge distillation for object detectors, level by level, from data to PDF.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
study_app = typer.Typer(help="Studies: a data set with its pairs, recipes and seeds.", no_args_is_help=True)
app.add_typer(study_app, name="study")
StudyName = Annotated[str, typer.Option("--study", help="A folder below params/.")]
PairName = Annotated[str, typer.Argument(metavar="PAIR", help="A pair of the study.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe that the study lists for this pair.")]
SPLIT_HELP = "VOC: an image set, such as train or VOC2007/trainval. COCO: ANNOTATIONS or ANNOTATIONS:IMAGES, below DIR."
Seed = Annotated[int, typer.Argument(metavar="SEED", min=0)]


@app.command()
def data(study: StudyName = "digits") -> None:
    """Make or read the data set and write its manifest; the first step, so it checks the whole study before."""
    from detdistill.check import check
    from detdistill.data import make

    check(study)
    make(study)


@app.command()
def teacher(pair: PairName, study: StudyName = "digits") -> None:
    """Train the teacher of a pair."""
    from detdistill.train.step import train_teacher

    train_teacher(study, pair)


@app.command()
def start(pair: PairName, study: StudyName = "digits") -> None:
    """Train the weights that every student of a pair starts from."""
    from detdistill.train.step import train_start

    train_start(study, pair)


@app.command()
def student(pair: PairName, recipe: RecipeName, seed: Seed, study: StudyName = "digits") -> None:
    """Train a student that no teacher helps: `plain` or `plain_long`."""
    from detdistill.train.step import train_student

    train_student(study, pair, recipe, seed)


@app.command()
def distill(pair: PairName, recipe: RecipeName, seed: Seed, study: StudyName = "digits") -> None:
    """Train a student with the methods of a recipe."""
    from detdistill.train.step import train_student

    train_student(study, pair, recipe, seed)


@app.command()
def evaluate(pair: PairName, recipe: RecipeName, seed: Seed, study: StudyName = "digits") -> None:
    """Measure a trained run on the validation and the test split."""
    from detdistill.evaluate.step import evaluate

    evaluate(study, pair, recipe, seed)


@app.command()
def summarize(study: StudyName = "digits") -> None:
    """Statistics over all runs of the study."""
    from detdistill.report.summarize import summarize

    summarize(study)


@app.command()
def report(study: StudyName = "digits") -> None:
    """Draw the figures and compile the PDF."""
    from detdistill.report.step import report

    report(study)


@app.command()
def sync(
    driver: Annotated[Literal["snakemake", "dvc"] | None, typer.Argument(help="Default: the one behind.")] = None,
    study: StudyName = "digits",
) -> None:
    """Tell one driver what the other one finished; refuse when that is not true."""
    from detdistill.sync import sync

    sync(study, driver)


@app.command()
def check(study: StudyName = "digits") -> None:
    """Validate every parameter slice of the study: detectors, recipes and methods, without training anything."""
    from detdistill.check import check

    check(study)


@app.command()
def methods() -> None:
    """List the methods by level, with the paper each comes from."""
    from detdistill.distill import files, summary

    for name, file in files().items():
        typer.echo(f"{file.parent!s:<14} {name:<10} {summary(name)}")


@study_app.command("new")
def study_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The folder below params/ that is made.")],
    voc: Annotated[Path | None, typer.Option(help="A folder with Annotations, ImageSets and JPEGImages.")] = None,
    coco: Annotated[Path | None, typer.Option(help="A folder with COCO JSON files and images.")] = None,
    train: Annotated[str | None, typer.Option(help=SPLIT_HELP)] = None,
    val: Annotated[str | None, typer.Option(help="The same for validation; by default also held out of train.")] = None,
    test: Annotated[str | None, typer.Option(help="The same for the test; by default also that of validation.")] = None,
    size: Annotated[int | None, typer.Option(min=32, help="Longest side of the images; default: by the boxes.")] = None,
    title: Annotated[str | None, typer.Option(help="Of the report.")] = None,
) -> None:
    """Write the parameters of a study of your own data, sized by its statistics."""
    from detdistill.new_study import new

    given: list[tuple[Literal["voc", "coco"], Path]] = []
    given += [("voc", voc)] if voc else []
    given += [("coco", coco)] if coco else []
    if len(given) != 1:
        raise UserError("study new: one of --voc DIR and --coco DIR is needed")
    splits = {split: chosen for split, chosen in (("train", train), ("val", val), ("test", test)) if chosen}
    [(kind, folder)] = given
    made = new(name, kind, folder, splits, size, title)  # type: ignore[arg-type]
    typer.echo(f"wrote {made}; edit what you like, then: snakemake --config study={name}")


def main() -> None:
    """Entry point: a UserError is one line and exit code 2."""
    atexit.register(gc.freeze)  # else the interpreter's last collection walks all of PyTorch, a second a process
    try:
        _spread(os.environ.pop("DETDISTILL_PROCESSES", "1"))
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _spread(processes: str) -> None:
    """Run a training verb in so many processes instead, one a GPU, by `accelerate launch`."""
    if not processes.isdecimal() or int(processes) == 0:
        raise UserError(f"DETDISTILL_PROCESSES: a number of processes is needed, found {processes!r}")
    if processes != "1" and sys.argv[1:2] and sys.argv[1] in TRAINING:
        launch = ["-m", "accelerate.commands.launch", "--num_processes", processes, "-m", "detdistill"]
        os.execv(sys.executable, [sys.executable, *launch, *sys.argv[1:]])

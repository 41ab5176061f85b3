"""The command line: one verb a step of the workflow, the same command under Snakemake and DVC.

It only dispatches; each verb imports its module when it runs, so that `detdistill --help` and errors come at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from detdistill.core.errors import UserError

TRAINING = ("teacher", "student", "distill")
STEPS = ("data", *TRAINING, "tune", "evaluate", "latency", "summarize", "report")
TREE = "DETDISTILL_TREE"
"""Says whose code a command was started again for."""
app = typer.Typer(
    help="Knowledge distillation for object detectors, level by level, from data to PDF.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _taking_turns(context: typer.Context, study: str) -> str:
    """A command that writes results does so alone."""
    if context.info_name in STEPS:
        from detdistill import turn

        turn.take(study, f"detdistill {context.info_name}")
    return study


study_app = typer.Typer(help="Studies: a data set with its pairs, recipes and seeds.", no_args_is_help=True)
app.add_typer(study_app, name="study")
StudyName = Annotated[str, typer.Option("--study", help="A folder below params/.", callback=_taking_turns)]
PairName = Annotated[str, typer.Argument(metavar="PAIR", help="A pair of the study.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe that the study lists for this pair.")]
SPLIT_HELP = (
    "VOC: an image set, such as VOC2007/trainval, or a folder of XML files. COCO, CSV: FILE or FILE:IMAGES. YOLO: a "
    "folder of images or a list. All below DIR."
)
Seed = Annotated[int, typer.Argument(metavar="SEED", min=0)]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"detdistill {version('detdistill')}{_commit()}")
        raise typer.Exit


def _commit() -> str:
    """Of the code that runs, where that lies in a Git checkout of the project."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    from detdistill.report.provenance import UNKNOWN, commit

    head = commit(root)
    return "" if head.name == UNKNOWN else f" ({head.name[:12]}{', changed' if head.dirty else ''})"


@app.callback()
def _whole(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Version, and commit in a checkout."),
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or one without such files.")],
) -> None:
    """Lay the workflow and two studies, `digits` and the small `smoke`, into a folder: a project without a checkout."""
    from detdistill.project import init

    init(folder)
    typer.echo(f"wrote {folder}; in it: snakemake --config study=smoke; for DVC: git init, then dvc repro")


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
def student(pair: PairName, recipe: RecipeName, seed: Seed, study: StudyName = "digits") -> None:
    """Train a student that no teacher helps, on the schedule of its slice."""
    from detdistill.train.step import train_student

    train_student(study, pair, recipe, seed)


@app.command()
def tune(pair: PairName, recipe: RecipeName, study: StudyName = "digits") -> None:
    """Find the weight of a recipe by the study's tuning budget, on the validation split."""
    from detdistill.tune import tune

    tune(study, pair, recipe)


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
def latency(pair: PairName, study: StudyName = "digits") -> None:
    """Measure what an image takes by the teacher and by a student of a pair; nothing else should run meanwhile."""
    from detdistill.evaluate.latency_step import measure_latency

    measure_latency(study, pair)


@app.command()
def summarize(study: StudyName = "digits") -> None:
    """Statistics over all runs of the study."""
    from detdistill.analysis.summarize import summarize
    from detdistill.pipeline import outdated

    summarize(study)
    if told := outdated(study):  # then `dvc repro` has not run all of it
        typer.echo(f"note: {told}")


@app.command()
def report(study: StudyName = "digits") -> None:
    """Draw the figures and compile the PDF."""
    from detdistill.report.step import report

    report(study)


@app.command()
def compare(
    report: Annotated[str, typer.Argument(metavar="REPORT", help="A study, its folder of reports or a summary.json.")],
    other: Annotated[
        str | None, typer.Argument(metavar="[REPORT]", help="The same; default: that study's in the last Git commit.")
    ] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as a page, too: .pdf or .html.")] = None,
) -> None:
    """Did I reproduce it? Hold a study's figures against another run of it: the committed one, or a second report.

    One line a recipe says whether AP50 and AP agree within the spread that the seeds predict, and a last line whether
    all do. Exit code 0: reproduced, 1: not, 2: the two are not the same study, since their parameters differ.
    """
    from detdistill.analysis import compare

    if page:
        from detdistill.report import comparison

        comparison.checked(page)
    ours = compare.read(report)
    theirs = compare.read(other) if other else compare.committed(ours["study"])
    if not other and ours == theirs and not Path("runs", ours["study"]).exists():
        raise UserError(f"{report}: this is the committed report itself; no run of the study lies here")
    lines = compare.compare(ours, theirs)
    if page:
        comparison.page(page, ours, theirs, lines, (report, other or "the last commit"))
    for line in lines:
        typer.echo(str(line))
    typer.echo(compare.verdict(lines))
    raise typer.Exit(0 if all(line.agrees for line in lines) else 1)


@app.command()
def join(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the joint report: reports/NAME.pdf.")],
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Two or more of the same images.")],
    title: Annotated[str, typer.Option(help="What the report calls their subject.")],
) -> None:
    """Print one report of several studies of the same images, with verdicts across all, from their summaries."""
    from detdistill.core import paths
    from detdistill.report.joint import joint

    joint(name, title, studies)
    typer.echo(f"wrote {paths.report(name)} and its page for screens")


@app.command()
def verify(study: StudyName = "digits") -> None:
    """Are the results on the disk what the steps wrote, and made from the parameters, code and data that lie there?

    Exit code 0: all of it, 1: something is damaged or was made from something else; a line each.
    """
    from detdistill.verify import verify

    findings, count = verify(study)
    for finding in findings:
        typer.echo(str(finding))
    typer.echo(
        f"study {study!r}: {count} files and all images verified, {sum(each.damaged for each in findings)} damaged, "
        f"{sum(not each.damaged for each in findings)} made from something that has changed since"
    )
    raise typer.Exit(1 if findings else 0)


@app.command()
def export(
    pair: PairName,
    recipe: RecipeName,
    seed: Seed,
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="A new or an empty folder.")],
    study: StudyName = "digits",
    format: Annotated[
        list[str] | None, typer.Option(help="onnx, beside the engine's own format; may be said several times.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Of the model, for its card: an SPDX name such as MIT.")] = None,
) -> None:
    """Write a trained run as a folder that runs elsewhere: safetensors, model card, and its engine's own format."""
    from detdistill.export import export

    export(study, pair, recipe, seed, to, format or [], licence)
    typer.echo(f"wrote {to}; {to}/README.md says how to load it, and: detdistill detect {to} IMAGE")


@app.command()
def detect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that `detdistill export` wrote.")],
    sources: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images, videos, or folders of them.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="A new or an empty folder.")] = Path("detections"),
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score; default: the best on validation.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images of one size that are detected together.")] = 8,
) -> None:
    """Detect in images and videos by an exported model: draw the boxes, write COCO JSON.

    Exit code 0: all of them, 1: some could not be read and were left out; a line each.
    """
    from detdistill.detect import detect

    found = detect(model, sources, to, threshold, batch)
    for fault in found.left_out:
        typer.echo(f"left out: {fault}", err=True)
    typer.echo(f"{found}; wrote {to}")
    raise typer.Exit(1 if found.left_out else 0)


@app.command()
def pipeline(study: StudyName = "digits") -> None:
    """Write the study's DAG for DVC, `dvc.yaml`."""
    from detdistill.pipeline import write

    typer.echo(f"wrote {write(study)}")


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

    for note in check(study):
        typer.echo(f"note: {note}")


@app.command()
def methods(
    as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/methods.md.")] = False,
    example: Annotated[
        str | None, typer.Option(help="A params slice of that method, with its published weights.")
    ] = None,
) -> None:
    """The catalogue of methods: level, detectors that it fits, parameters added, what it is held to, published gain."""
    from rich.console import Console
    from rich.table import Column, Table

    from detdistill import catalogue

    if example:
        typer.echo(catalogue.example(example))
    elif as_json:
        typer.echo(catalogue.as_json())
    elif as_markdown:
        typer.echo(catalogue.as_markdown())
    else:
        console = Console() if sys.stdout.isatty() else Console(width=250)
        head, *rows = catalogue.rows(short=console.width < 160)
        table = Table(head[0], Column(head[1], no_wrap=True), *head[2:], box=None)
        for row in rows:
            table.add_row(*row)
        console.print(table)


@study_app.command("new")
def study_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The folder below params/ that is made.")],
    place: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of the data, or a COCO file, a CSV table or data.yaml.")
    ],
    kind: Annotated[
        Literal["voc", "coco", "yolo", "csv"] | None, typer.Option(help="What to read, where there are several.")
    ] = None,
    train: Annotated[str | None, typer.Option(help=SPLIT_HELP)] = None,
    val: Annotated[str | None, typer.Option(help="The same for validation; by default also drawn from train.")] = None,
    test: Annotated[str | None, typer.Option(help="The same for the test; by default also that of validation.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the images that are drawn for splits that are missing.")] = 0,
    broken_images: Annotated[
        Literal["refuse", "skip"], typer.Option(help="Whether images that cannot be used are left out.")
    ] = "refuse",
    size: Annotated[int | None, typer.Option(min=32, help="Longest side of the images; default: by the boxes.")] = None,
    title: Annotated[str | None, typer.Option(help="Of the report.")] = None,
) -> None:
    """Look at data of your own, VOC, COCO, YOLO or CSV, say what they are, and write a study sized by them."""
    from detdistill.new_study import new

    named = {split: chosen for split, chosen in (("train", train), ("val", val), ("test", test)) if chosen}
    made = new(name, place, named, kind=kind, size=size, seed=seed, broken_images=broken_images, title=title)  # type: ignore[arg-type]
    for line in made.said:
        typer.echo(line)
    typer.echo(f"wrote {made.folder}; edit what you like, then: snakemake --config study={name}")


def main() -> None:
    """Entry point: a UserError is one line and exit code 2, and so is what the system refuses: a name, memory."""
    atexit.register(gc.freeze)  # else the interpreter's last collection walks all of PyTorch, a second a process
    try:
        _own_tree()
        _spread(os.environ.pop("DETDISTILL_PROCESSES", "1"))
        app(prog_name="detdistill")  # also as `python -m detdistill`: completion asks by this name
    except UserError as error:
        _fail(error)
    except OSError as error:
        if error.filename is None:
            raise
        _fail(UserError(f"{error.filename}: {error.strerror}"))
    except (MemoryError, RuntimeError) as error:
        from detdistill.memory import is_lack

        if not is_lack(error):
            raise
        _fail(UserError(f"the memory of this machine, or what a process may have of it, is too little: {error}"))


def _fail(error: UserError) -> NoReturn:
    print(*error.faults, f"error: {error}", sep="\n", file=sys.stderr)
    raise SystemExit(2) from None


def _own_tree() -> None:
    """Run the code of the project that the command stands in instead, where that is another copy than this one.

    A clone that shares an environment, or the copy in which `dvc exp run --queue` works, must not get the code that
    happens to be installed.
    """
    own, running = Path("src/detdistill").resolve(), Path(__file__).resolve().parent
    if own == running or not (own / "cli.py").is_file():
        return
    if os.environ.get(TREE) == str(own):
        raise UserError(f"{own}: the code of this project is not what runs, that of {running} is; check PYTHONPATH")
    paths = [str(own.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {TREE: str(own), "PYTHONPATH": os.pathsep.join(paths)}
    os.execve(sys.executable, [sys.executable, "-m", "detdistill", *sys.argv[1:]], environment)


def _spread(named: str) -> None:
    """Run a training verb in so many processes instead, one a GPU.

    By torchrun's launcher, since `accelerate launch` starts but one where there is no GPU.
    """
    if named == "1":
        return
    from detdistill.needs import processes

    count = processes(named)
    if not sys.argv[1:2] or sys.argv[1] not in TRAINING:
        return
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    alone = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="detdistill",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(alone, sys.executable)("-m", "detdistill", *sys.argv[1:])
    except ChildFailedError as failed:  # which the processes have said why
        raise SystemExit(failed.get_first_failure()[1].exitcode) from None
    raise SystemExit(0)

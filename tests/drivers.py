"""The steps of a study as each driver sees them, and the source that a step imports."""

import ast
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dvc.repo import Repo
from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

SOURCE = Path("src")


@dataclass(frozen=True)
class Step:
    """What one command reads and writes, files and folders relative to the project root."""

    inputs: frozenset[str]
    outputs: frozenset[str]


def snakemake_steps(root: Path, study: str, *targets: str) -> dict[str, Step]:
    """Command -> step, as Snakemake would run it for these targets; without any, for the report."""
    return {
        job.shellcmd.removesuffix(f" > {job.log[0]} 2>&1"): Step(
            frozenset(map(str, job.input)), frozenset(map(str, job.output))
        )
        for job in _jobs(root, study, *targets)
    }


def snakemake_resources(root: Path, study: str) -> dict[tuple[str, ...], dict[str, int]]:
    """Verb and what it is about, without the seed -> what Snakemake would ask a cluster for."""
    asked = {}
    for job in _jobs(root, study):
        words = job.shellcmd.split(" --study ")[0].split()[1:4]
        asked[*words] = {name: value for name, value in job.resources.items() if isinstance(value, int)}
    return asked


def _jobs(root: Path, study: str, *targets: str) -> list:
    with contextlib.chdir(root), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config={"study": study}),
            snakefile=Path("Snakefile"),
        )
        workflow.dag(DAGSettings(targets=set(targets), forceall=True)).execute_workflow(executor="dryrun")
        return [job for job in workflow._workflow.dag.jobs if job.shellcmd]


def dvc_steps(root: Path, pipeline: Path) -> dict[str, Step]:
    """Command -> step, as DVC would run it. A folder among the inputs is kept as a folder."""

    def names(items: list) -> frozenset[str]:
        return frozenset(Path(item.fs_path).relative_to(root).as_posix() for item in items)

    with Repo(str(root)) as repo:
        stages = [stage for stage in repo.index.stages if Path(stage.path) == root / pipeline]
        return {stage.cmd: Step(names(stage.deps), names(stage.outs)) for stage in stages}


def folders_filled(root: Path, steps: dict[str, Step]) -> dict[str, Step]:
    """DVC's steps with each folder among the inputs replaced by what it stands for: outputs of steps, or source."""
    outputs = {output for step in steps.values() for output in step.outputs}

    def files(name: str) -> Iterator[str]:
        if name in outputs or (root / name).is_file() or Path(name).suffix:
            yield name
        elif (root / name).is_dir() and name.startswith("src/"):
            below = (file for file in (root / name).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
            yield from (file.relative_to(root).as_posix() for file in below)
        else:
            yield from (output for output in outputs if output.startswith(f"{name}/"))

    return {
        command: Step(frozenset(file for name in step.inputs for file in files(name)), step.outputs)
        for command, step in steps.items()
    }


def imports_of(root: Path, *modules: str) -> set[str]:
    """The files of these modules and of every first-party module that they import, and so on.

    A file of nothing but a docstring is left out: no result depends on it.
    """
    found: set[Path] = set()
    waiting = [file for module in modules for file in _files(root, module)]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting.extend(file for name in _imported(root, file) for file in _files(root, name))
    return {file.relative_to(root).as_posix() for file in found if not _is_bare(file)}


def _files(root: Path, module: str) -> Iterator[Path]:
    """The files that `import module` runs: its packages' and its own. Third-party modules have none here."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        place = root.joinpath(SOURCE, *parts[:length])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                yield file


@cache
def _imported(root: Path, file: Path) -> list[str]:
    package = file.relative_to(root / SOURCE).parent.parts
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            names += [".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names]
    return names


@cache
def _is_bare(file: Path) -> bool:
    body = ast.parse(file.read_text()).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)

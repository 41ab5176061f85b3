"""What is known of every method: its paper, what it needs and adds, whom it fits, whom it is held to, its weights.

The one source of `detdistill methods`, its examples and the tables of the documentation. What a method's file says of
itself is read from there; what no file of code can say is in `catalogue.yaml`.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from detdistill.core.params import Slice
from detdistill.detectors.base import Background, Detector, Queries, Taps
from detdistill.distill import files, find, summary
from detdistill.distill.base import Method
from detdistill.report import literature

FILE = Path(__file__).with_suffix(".yaml")
WHERE = "detdistill methods"
HEAD = """\
# Methods

Written by `detdistill methods --markdown`. Parameters: what a method adds while a ResNet-18
learns from a ResNet-50, with 256 channels in neck and heads; the student that is left has none.
"""
TRUNK = frozenset({"backbone", "neck"})
ANCHORS = frozenset({"anchors", "anchor_labels", "anchor_targets"})
DENSE = TRUNK | ANCHORS | {"head_logits", "head_deltas", "head_cls_features", "head_box_features"}
ROIS = frozenset({f"roi_{tap}" for tap in ("boxes", "labels", "targets", "maps", "features", "logits", "deltas")})
TWO_STAGE = TRUNK | ANCHORS | ROIS | {"rpn_logits", "rpn_deltas"}
DECODER = TRUNK | {"memory", "initial_queries", "queries", "query_logits", "query_boxes"}
FAMILIES: dict[str, tuple[frozenset[str], Background]] = {
    "faster_rcnn": (TWO_STAGE, "softmax"),
    "retinanet": (DENSE, "sigmoid"),
    "fcos": (DENSE, "sigmoid"),
    "gfl": (DENSE | {"head_edges"}, "sigmoid"),
    "rt_detr": (DECODER, "sigmoid"),
    "deformable_detr": (DECODER, "sigmoid"),
}
"""family -> its taps and how it classifies, whichever engine owns it."""


class Published(Slice):
    """Weights that somebody published: for what, which, and where they were read."""

    setting: str
    source: str
    weights: dict[str, float | int | str]


class Known(Slice):
    """What `catalogue.yaml` says of a method."""

    held: str | None = None
    published: list[Published] = []


@dataclass(frozen=True)
class Entry:
    """One method of the catalogue."""

    name: str
    level: str
    summary: str
    paper: str | None
    taps: list[str]
    """Of both detectors, and of the student alone."""
    fits: list[str]
    """The families of detectors that have those taps."""
    parameters: int
    """What it adds while training a ResNet-18 from a ResNet-50, 256 channels elsewhere; the student stays as it is."""
    held: str | None
    """The released code that its values and gradients were compared with, repository@commit."""
    gain: float | None
    """Published, in points of `metric`; of a paper's whole method where this is a part of it."""
    metric: str | None
    part: bool


@cache
def known() -> dict[str, Known]:
    """What `catalogue.yaml` says, by method; nothing of a method that it does not name."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    said = {name: Known.model_validate(values) for name, values in content.items()}
    return {name: said.get(name, Known()) for name in files()}


def entry(name: str) -> Entry:
    """What is known of one method. Raises UserError with the near name."""
    method, papers = find(name, WHERE), literature.load()
    paper = papers.paper(name)
    needs = method.taps | method.student_taps
    fits = [each for each, (taps, how) in FAMILIES.items() if needs <= taps and how in method.background]
    told = papers.published(paper.key, "Faster R-CNN" if fits == ["faster_rcnn"] else "") if paper else None
    return Entry(
        name=name,
        level=files()[name].parent.name,
        summary=summary(name),
        paper=None if paper is None else ", ".join(filter(None, _cited(paper))),
        taps=sorted(needs),
        fits=fits,
        parameters=sum(each.numel() for each in _built(method, _first(name)).parameters()),
        held=known()[name].held,
        gain=told.gain if told else None,
        metric=told.metric if told else None,
        part=paper is not None and name in paper.parts,
    )


def entries() -> list[Entry]:
    """All methods, in the order of the taxonomy's folders."""
    return [entry(name) for name in files()]


def as_json() -> str:
    """All methods for other programs."""
    return json.dumps([asdict(each) for each in entries()], indent=2)


def as_markdown() -> str:
    """All methods as a page: a table, then for each what it does and a slice with its published weights."""
    lines = HEAD.split("\n")
    lines += ["| level | method | paper | agrees with the released code of |", "|---|---|---|---|"]
    for each in entries():
        held = f"`{each.held}`" if each.held else ""
        lines.append(f"| {_level(each)} | [`{each.name}`](#{each.name}) | {each.paper} | {held} |")
    for each in entries():
        of = " of the whole method" if each.part else ""
        gain = "" if each.gain is None else f" Published gain{of}: {each.gain:+.1f} {each.metric}."
        lines += ["", f"## {each.name}", "", f"{_level(each)}. {each.summary}{gain}", ""]
        lines += [f"Fits {', '.join(each.fits)}; adds {each.parameters:,} parameters while training.", ""]
        lines += ["```yaml", example(each.name), "```"]
    return "\n".join(lines)


def _level(entry: Entry) -> str:
    return entry.level.replace("rpn_roi", "RPN/RoI")


def rows(short: bool = False) -> list[list[str]]:
    """A table of all methods for people, its head first; short, without the columns that need a wide screen."""
    head = ["level", "method", "fits", "adds", "gain", "held to", "what it does"]
    full = [head] + [
        [
            _level(each),
            each.name,
            ", ".join(each.fits),
            f"{each.parameters:,}",
            "-" if each.gain is None else f"{each.gain:+.1f} {each.metric}",
            each.held or "-",
            each.summary,
        ]
        for each in entries()
    ]
    return [row[:5] for row in full] if short else full


def example(name: str) -> str:
    """A params slice with a method's published weights and their source, further settings as comments."""
    of, published = entry(name), known()[name].published
    lines = [f"# {of.summary}", f"# {of.paper or 'No paper of its own'}."]
    if published:
        lines.append(f"# Published for {published[0].setting} ({published[0].source}).")
    else:
        lines.append("# No weight was found in a source that could be checked; `detdistill tune` finds one from here.")
    lines += ["methods:", f"  {name}: {_flow(_first(name))}"]
    for each in published[1:]:
        lines += [f"# Published for {each.setting} ({each.source}):", f"#   {name}: {_flow(dict(each.weights))}"]
    return "\n".join(lines)


def _cited(paper: literature.Reference) -> list[str | None]:
    return [paper.authors, paper.venue, paper.arxiv and f"arXiv {paper.arxiv}"]


def _first(name: str) -> dict[str, Any]:
    """The first published weights of a method; 1 for each weight where there are none."""
    published = known()[name].published
    if published:
        return dict(published[0].weights)
    keywords = inspect.signature(find(name, WHERE)).parameters.values()
    return {each.name: 1.0 for each in keywords if each.kind is each.KEYWORD_ONLY and each.default is each.empty}


def _flow(weights: dict[str, Any]) -> str:
    return yaml.safe_dump(weights, default_flow_style=True, sort_keys=False, width=10_000).strip()


def _built(method: type[Method], keywords: dict[str, Any]) -> Method:
    small, large = ({str(4 * 2**i): width * 2**i for i in range(4)} for width in (64, 256))
    return method(_Sizes(small), _Sizes(large), **keywords)


class _Sizes(Detector):
    """A detector of which a method can see the sizes alone."""

    num_queries = 300

    def __init__(self, backbone: dict[str, int]):
        super().__init__(nn.Linear(1, 1), 80)
        self.backbone = backbone

    def channels(self, wanted: frozenset[str]) -> dict[str, dict[str, int]]:
        return {tap: self.backbone if tap == "backbone" else dict.fromkeys(self._levels(tap), 256) for tap in wanted}

    def shapes(
        self, wanted: frozenset[str], image_size: tuple[int, int] = (64, 64)
    ) -> dict[str, dict[str, torch.Size]]:
        return {tap: {level: torch.Size([1, 256, 7, 7]) for level in self._levels(tap)} for tap in wanted}

    def _levels(self, tap: str) -> list[str]:
        return [""] if tap in ROIS else list(self.backbone)

    def observe(self, images: Any, wanted: frozenset[str], roi_boxes: Any = None) -> Taps:
        return Taps(initial_queries=Queries(torch.zeros(1, 1, 256), torch.zeros(1, 1, 4)))

    def training_step(self, images: Any, targets: Any, wanted: frozenset[str] = frozenset()) -> Any:
        raise TypeError("it has sizes and no model")

    def predict(self, images: Any) -> Any:
        raise TypeError("it has sizes and no model")

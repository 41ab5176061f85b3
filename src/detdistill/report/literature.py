"""Published papers and figures, as read from `literature.json`; kept apart from everything measured here.

A published figure carries where it was read: a repository, the paper itself, or a secondary transcription.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

REVIEW = "review"


@dataclass(frozen=True)
class Reference:
    """A paper. `levels` are where its losses act; `arxiv` may be unknown.

    `key` is the method's name in the code. A paper that the code has in parts names them: method -> what it is called.
    """

    key: str
    name: str
    authors: str
    title: str
    venue: str
    arxiv: str | None
    levels: list[str]
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """One published comparison. `AP` and `AP50` are points of (teacher, plain student, distilled), None if not found.

    `context` marks figures that are shown in every study, for scale, not only where the method is measured.
    """

    reference: str
    setting: str
    data: str
    AP: tuple[float | None, float | None, float | None]
    AP50: tuple[float | None, float | None, float | None]
    kind: Literal["repository", "paper", "secondary"]
    source: str | None
    note: str | None
    context: bool

    @property
    def metric(self) -> Literal["AP50", "AP"]:
        """What `gain` and `gap_closed` are of: AP50 where it is known of both students."""
        return "AP50" if None not in self.AP50[1:] else "AP"

    @property
    def gain(self) -> float | None:
        """Distilled minus plain student in points of `metric`."""
        for _, student, distilled in (self.AP50, self.AP):
            if student is not None and distilled is not None:
                return distilled - student
        return None

    @property
    def gap_closed(self) -> float | None:
        """The share of the distance from plain student to teacher, in AP50 where it is known, else in AP.

        None for a distance of less than a point, of which a share says nothing.
        """
        for teacher, student, distilled in (self.AP50, self.AP):
            if teacher is not None and student is not None and distilled is not None and teacher - student >= 1:
                return (distilled - student) / (teacher - student)
        return None


@dataclass(frozen=True)
class Literature:
    """The papers by key, and the published figures in the order of the file."""

    references: dict[str, Reference]
    figures: list[Figure]

    def paper(self, method: str) -> Reference | None:
        """The paper of a method, or of the part of one; None for a method without a paper here."""
        return next((each for each in self.references.values() if method == each.key or method in each.parts), None)

    def name(self, method: str) -> str:
        """What the paper calls its method; a method without a paper here keeps its own name."""
        paper = self.paper(method)
        return paper.parts.get(method, paper.name) if paper else method

    def published(self, method: str, family: str) -> Figure | None:
        """The published comparison of a method with a gain: in that family if there is one.

        None for a part of a paper's method, since papers tell the whole.
        """
        paper = self.paper(method)
        if paper is None or method in paper.parts:
            return None
        own = [figure for figure in self.figures if figure.reference == paper.key and figure.gain is not None]
        own.sort(key=lambda figure: not figure.setting.startswith(family))
        return own[0] if own else None

    def relevant(self, papers: set[str]) -> list[Figure]:
        """The figures of the given papers, and those that are shown for scale."""
        return [figure for figure in self.figures if figure.context or figure.reference in papers]


def load() -> Literature:
    """The literature that ships with the package."""
    content = json.loads(Path(__file__).with_name("literature.json").read_text(encoding="utf-8"))
    references = {entry["key"]: Reference(**entry) for entry in content["references"]}
    figures = [
        Figure(**{**entry, "AP": tuple(entry["AP"]), "AP50": tuple(entry["AP50"])}) for entry in content["figures"]
    ]
    return Literature(references, figures)

"""A document set by Typst in one of its two forms: its text, the look of the form, its content and its figures."""

import json
from pathlib import Path
from typing import Any, Literal

import typst

from detdistill.core.errors import UserError
from detdistill.core.files import write_atomic

HERE = Path(__file__).parent
Form = Literal["pdf", "html"]
LOOKS: dict[Form, tuple[str, ...]] = {"pdf": ("paper.typ",), "html": ("screen.typ", "screen.css", "screen.js")}
"""The look that the text imports, and the files that the look reads."""


def print_both(paper: Path, text: str, content: dict[str, Any], figures: list[Path], time: int) -> None:
    """Write `paper`, a PDF, and the page for screens beside it; arguments as those of `typeset`."""
    write_atomic(paper, typeset(text, content, figures, time, "pdf"))
    write_atomic(paper.with_suffix(".html"), typeset(text, content, figures, time, "html"))


def typeset(text: str, content: dict[str, Any], figures: list[Path], time: int, form: Form) -> bytes:
    """The bytes of the document, which are a function of these arguments alone.

    Args:
        text: the name of the Typst file in this folder.
        content: what it reads as `document.json`; its `study` names the document in errors.
        figures: SVG files, read by their names.
        time: what a PDF says of when it was made, in seconds since 1970.
    """
    look, *read = LOOKS[form]
    sources = {
        "main.typ": (HERE / text).read_bytes(),
        "parts.typ": (HERE / "parts.typ").read_bytes(),
        "look.typ": (HERE / look).read_bytes(),
        "document.json": json.dumps(content, allow_nan=False).encode(),
        **{name: (HERE / name).read_bytes() for name in read},
        **{figure.name: figure.read_bytes() for figure in figures},
    }
    fonts = typst.Fonts(include_system_fonts=False)
    try:
        return typst.compile(sources, format=form, font_paths=fonts, timestamp=time)  # type: ignore[call-overload,no-any-return]  # the stub has no dict
    except typst.TypstError as error:
        raise UserError(f"{content['study']}.{form}: Typst: {error.message}") from None

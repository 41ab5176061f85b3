"""The site's pages for mkdocs: the repository's own, the catalogue of methods, and the commands' own help."""

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from detdistill import catalogue

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
LINK = re.compile(r"\]\((?!\w+:|#)([^)#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every page, and every file of the repository that one links to."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        for target in set(LINK.findall(text)) - PAGES.keys():
            if files.get_file_from_path(target) is None:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "methods.md", content=methods()))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def methods() -> str:
    """The catalogue: a section a level, a slice with the published weights for each method."""
    lines = ["# Methods", "", "What `detdistill methods` knows of each, and what `--example` prints."]
    level = ""
    for each in catalogue.entries():
        if each.level != level:
            level = each.level
            lines += ["", f"## {level.replace('_', '/')}"]
        held = f" Its values and gradients agree with `{each.held}`." if each.held else ""
        lines += ["", f"### {each.name}", "", each.summary, "", f"{each.paper or 'No paper of its own'}.{held}", ""]
        lines += [f"Fits {', '.join(each.fits)}; adds {each.parameters:,} parameters while training.", ""]
        lines += ["```yaml", catalogue.example(each.name), "```"]
    return "\n".join(lines)


def commands() -> str:
    """Every verb with its arguments and options, by typer's own documentation of it."""
    tell = ["-m", "typer", "detdistill.cli", "utils", "docs", "--name", "detdistill", "--title", "Commands"]
    return subprocess.run([sys.executable, *tell], capture_output=True, text=True, check=True).stdout

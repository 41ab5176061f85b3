"""The site's pages for mkdocs: those of this folder, the repository's own, and the commands' own help."""

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "params/README.md": "parameters.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
LINK = re.compile(r"\]\((?!\w+:|#)([^)#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every page, and every file of the repository that one links to."""
    files.append(File.generated(config, "commands.md", content=commands()))
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for page in files.documentation_pages():
        for target in set(LINK.findall(from_root(page.content_string))):
            if files.get_file_from_path(PAGES.get(target, target)) is None and (ROOT / target).is_file():
                files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are in the site."""
    return LINK.sub(lambda link: f"]({PAGES.get(link[1], link[1])}", from_root(markdown))


def from_root(markdown: str) -> str:
    """In the site, the pages of docs/ and those of the root lie side by side."""
    return markdown.replace("](../", "](").replace("](docs/", "](")


def commands() -> str:
    """Every verb with its arguments and options, by typer's own documentation of it."""
    tell = ["-m", "typer", "detdistill.cli", "utils", "docs", "--name", "detdistill", "--title", "Commands"]
    return subprocess.run([sys.executable, *tell], capture_output=True, text=True, check=True).stdout

"""Events of MkDocs: pages from outside docs/, links between the two, and parts of pages that are generated."""

import posixpath
import re
from pathlib import Path
from typing import Any

from losses_reference import losses_markdown, plots
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE", "configs/datasets/README.md", "reports/**/*.*")
# As in .gitignore: logs, and pictures that show images of data sets that are not ours.
LEFT_OUT = re.compile(r"/logs/|/predictions-(?!phantom-)")


def on_files(files: Any, config: Any) -> None:
    """Add the pages from outside docs/ under their path in the repository, and the plots of the losses."""
    for path in (path for pattern in OUTSIDE for path in sorted(ROOT.glob(pattern))):
        address = path.relative_to(ROOT).as_posix()
        if path.is_file() and not LEFT_OUT.search(address):
            files.append(File.generated(config, address, abs_src_path=str(path)))
    for name, content in plots().items():
        files.append(File.generated(config, f"losses/{name}", content=content))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put the generated parts in, and let links between docs/ and the rest of the repository hold in the site."""
    folder = Path(page.file.abs_src_path).parent.relative_to(ROOT).as_posix()
    here = posixpath.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1])).removeprefix("docs/")
        return f"]({posixpath.relpath(target, here or '.')}"

    markdown = re.sub(r"\]\((?!\w+:|#)([^)#\s]+)", link, markdown)
    for name, generate in {"argument": argument, "losses": losses_markdown, "reports": reports}.items():
        if (marker := f"<!-- generated: {name} -->") in markdown:
            markdown = markdown.replace(marker, generate())
    return markdown


def argument() -> str:
    """The figure of the articles' argument for soft labels."""
    return "![Product form and Jaccard metric loss of one pixel](losses/argument.svg)"


def reports() -> str:
    """A list of the reports: what their authors found, then the tables of each grid."""
    paths = [*sorted(ROOT.glob("reports/*.md")), *sorted(ROOT.glob("reports/*/table.md"))]
    titles = [path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for path in paths]
    addresses = [path.relative_to(ROOT).as_posix() for path in paths]
    return "\n".join(f"- [{title}]({address})" for title, address in zip(titles, addresses, strict=True))

"""Events of MkDocs: pages from outside docs/, links between the two, and parts of pages that are generated."""

import posixpath
import re
import tempfile
from pathlib import Path
from typing import Any

import losses_reference
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "LICENSE",
    "configs/datasets/README.md",
    "reports/**/*.md",
    "reports/demo/index.html",
    "reports/demo/predictions-phantom-unet-tiny.png",
)
PLOTS = tempfile.TemporaryDirectory()


def on_files(files: Any, config: Any) -> None:
    """Add the pages from outside docs/ under their path in the repository, and the plots of the losses."""
    outside = {path.relative_to(ROOT).as_posix(): path for pattern in OUTSIDE for path in sorted(ROOT.glob(pattern))}
    losses_reference.draw_losses(Path(PLOTS.name))
    plots = {f"losses/{path.name}": path for path in sorted(Path(PLOTS.name).iterdir())}
    for address, path in (outside | plots).items():
        files.append(File.generated(config, address, abs_src_path=str(path)))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put the generated parts in, and let links between docs/ and the rest of the repository hold in the site."""
    folder = Path(page.file.abs_src_path).parent.relative_to(ROOT).as_posix()
    here = posixpath.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1])).removeprefix("docs/")
        return f"]({posixpath.relpath(target, here or '.')}"

    markdown = re.sub(r"\]\((?!\w+:|#)([^)#\s]+)", link, markdown)
    for name, generate in {"argument": argument, "losses": losses, "reports": reports}.items():
        if (marker := f"<!-- generated: {name} -->") in markdown:
            markdown = markdown.replace(marker, generate())
    return markdown


def argument() -> str:
    """The figure of the articles' argument for soft labels."""
    return "![Product form and Jaccard metric loss of one pixel](losses/argument.svg)"


def losses() -> str:
    """The sections of all losses."""
    return losses_reference.losses_markdown(Path(PLOTS.name))


def reports() -> str:
    """A list of the reports: what their authors found, then the tables of each grid."""
    paths = [*sorted(ROOT.glob("reports/*.md")), *sorted(ROOT.glob("reports/*/table.md"))]
    titles = [path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for path in paths]
    addresses = [path.relative_to(ROOT).as_posix() for path in paths]
    return "\n".join(f"- [{title}]({address})" for title, address in zip(titles, addresses, strict=True))

"""The documentation: its site is built without network, its links hold, and its commands can be typed."""

import argparse
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from segloss.cli import VERBS, build_parser
from segloss.datasets import DATASETS
from segloss.grid.configs import SCHEMAS
from segloss.grid.errors import validate

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "configs/datasets/README.md",
    *sorted(ROOT.glob("docs/*.md")),
]
WITHOUT_NETWORK = """
import socket
def refuse(*arguments, **options):
    raise AssertionError("the build opened a connection")
socket.socket.connect = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli()
"""


def tokens(page: Path) -> Iterator[Token]:
    """All tokens of a page, including those inside paragraphs and cells."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a Markdown file, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere_in_the_repository(page: Path) -> None:
    links = [str(token.attrs.get("href") or token.attrs.get("src") or "") for token in tokens(page)]
    for link in (urlsplit(link) for link in links if link):
        if link.scheme:
            assert link.scheme == "https", link.geturl()
            continue
        target = page.parent / unquote(link.path) if link.path else page
        assert target.is_file(), f"{page.name}: {link.geturl()}"
        assert not link.fragment or link.fragment in anchors(target), f"{page.name}: {link.geturl()}"


class Html(HTMLParser):
    """Identifiers, links, addresses of what is loaded, and paragraphs of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.ids, self.links, self.loaded, self.text = set(), set(), set(), [""]
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids.add(values.get("id"))
        if tag == "p":
            self.text.append("")
        if address := values.get("href") or values.get("src"):
            (self.links if tag == "a" else self.loaded).add(address)

    def handle_data(self, data: str) -> None:
        self.text[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Html]:
    folder = tmp_path_factory.mktemp("site").resolve()
    command = (sys.executable, "-W", "error", "-c", WITHOUT_NETWORK, "build", "--strict", "--site-dir", str(folder))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # The pages of grids are copied unchanged; reports/index.html is made of reports/README.md here.
    copied = {folder / page.relative_to(ROOT) for page in ROOT.glob("reports/*/index.html")}
    written = (file for file in folder.rglob("*.html") if file not in copied)
    return {file: Html(file) for file in written if file.name != "404.html"}


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_the_site_needs_no_network_and_every_link_and_anchor_in_it_exists(site: dict[Path, Html]) -> None:
    for file, page in site.items():
        for address in page.links | page.loaded:
            link = urlsplit(address)
            if link.scheme:
                assert address in page.links, f"{file}: loads {address}"
                continue
            target = (file.parent / unquote(link.path)).resolve() if link.path else file
            assert target.is_file(), f"{file}: {address}"
            if link.fragment and target in site:
                assert unquote(link.fragment) in site[target].ids, f"{file}: {address}"


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_lists_and_tables_are_rendered_as_such(site: dict[Path, Html]) -> None:
    """Python-Markdown, unlike GitHub, needs an empty line before a list."""
    lost = [text for page in site.values() for text in page.text if re.search(r"^(- |\* |\| |\|:|1\. )", text, re.M)]
    assert lost == []


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_every_loss_has_a_section_with_its_options_and_a_plot(site: dict[Path, Html]) -> None:
    from segloss.losses import CATALOGUE

    (file,) = (file for file in site if file.name == "losses.html" and file.with_name("choosing.html") in site)
    text = file.read_text(encoding="utf-8")
    sections = dict(re.findall(r'<h2 id="(\w+)">(.*?)(?=<h2|<footer)', text, re.DOTALL))
    without_plot = set()
    for name, loss in CATALOGUE.items():
        assert f"<code>{loss.module_name}</code>" in sections[name], name
        for option in inspect.signature(loss).parameters:
            if option not in ("logits", "target", "valid"):
                assert re.search(rf"<li>(<code>[^<]*</code>, )*<code>{option}\b", sections[name]), f"{name}: {option}"
        if f'src="losses/{name}.svg"' not in sections[name]:
            without_plot.add(name)
    assert without_plot == {"boundary", "hausdorff", "cldice"}  # constant on a single pixel


def test_the_examples_without_mmsegmentation_run() -> None:
    import torch

    page = (ROOT / "docs/library.md").read_text(encoding="utf-8")
    examples = [text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "custom_imports" not in text]
    target = torch.tensor([[[0, 1], [1, 255]]])
    raters = torch.stack([target, target.flip(1)], 1)
    names = {"logits": torch.zeros(1, 2, 2, 2, requires_grad=True), "target": target, "raters": raters}
    names["weights"] = torch.tensor([[[1.0, 0.5], [2.0, 0.0]]])
    exec(examples[0], names)
    names["loss"].backward()
    assert names["logits"].grad[0, :, 1, 1].abs().sum() == 0 < names["logits"].grad.abs().sum()
    # Constant logits predict class 0, the label of one of the three valid pixels.
    for example in examples[1:]:
        names["loss"] = None
        exec(example, names)
        assert names["loss"] is None or 0 < names["loss"] < 1
    assert names["loss_map"][target == 255] == 0 < names["loss_map"][target == 0]
    assert names["metrics"]["aAcc"] == pytest.approx(100 / 3)
    assert names["metrics"]["ECE"] == pytest.approx(100 * (1 / 2 - 1 / 3))


def quoted(beginning: str) -> list[tuple[str, str]]:
    """Pages, and the lines of code in them that match a pattern; placeholders are ``PLACEHOLDER``."""
    lines = []
    for page in PAGES:
        for token in tokens(page):
            if token.type in ("fence", "code_inline"):
                for line in re.sub(r"<[^<>\n]+>", "PLACEHOLDER", token.content).splitlines():
                    if re.match(beginning, line):
                        lines.append((str(page.relative_to(ROOT)), line))
    assert lines
    return lines


def known_grid(page: str, name: str) -> bool:
    """Whether a grid exists, is a placeholder, or is one that the reader of the page writes."""
    written = f"Write `configs/grids/{name}.yaml`" in (ROOT / page).read_text(encoding="utf-8")
    return name.isupper() or written or (ROOT / "configs" / "grids" / f"{name}.yaml").is_file()


@pytest.mark.parametrize(("page", "command"), quoted("segloss "))
def test_a_quoted_segloss_command_can_be_typed(page: str, command: str) -> None:
    verb, *words = shlex.split(command, comments=True)[1:]
    assert verb in VERBS
    if not words:  # the verb alone, in a sentence
        return
    arguments = build_parser().parse_args([verb, *words])
    assert known_grid(page, getattr(arguments, "grid", "demo"))
    if getattr(arguments, "dataset", None):
        named = (ROOT / page).read_text(encoding="utf-8")
        assert arguments.dataset in DATASETS or f"configs/datasets/{arguments.dataset}.yaml" in named


@pytest.mark.parametrize(("page", "command"), quoted("snakemake ") + quoted("--(config|set|profile)"))
def test_a_quoted_snakemake_command_can_be_typed(page: str, command: str) -> None:
    from snakemake.cli import get_argument_parser, parse_config

    arguments = get_argument_parser().parse_args(shlex.split(command.removeprefix("snakemake "), comments=True))
    config = parse_config(arguments.config)
    validate(config, SCHEMAS / "config.schema.json", command)
    assert known_grid(page, config.get("grid", "demo"))
    assert all((ROOT / profile / "profile.yaml").is_file() for profile in arguments.profile or ())


@pytest.mark.parametrize(("page", "command"), quoted("make "))
def test_a_quoted_make_command_has_targets(page: str, command: str) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    words = [word for word in shlex.split(command, comments=True)[1:] if "=" not in word]
    assert set(words) <= set(targets), f"{page}: {command}"


def options(parser: argparse.ArgumentParser) -> set[str]:
    """All options of a parser and of its verbs."""
    verbs = (action.choices.values() for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {*parser._option_string_actions}.union(*(options(verb) for entry in verbs for verb in entry))


@pytest.mark.parametrize(("page", "option"), quoted("--[a-z]"))
def test_a_quoted_option_exists(page: str, option: str) -> None:
    from snakemake.cli import get_argument_parser

    assert option.split()[0] in options(build_parser()) | options(get_argument_parser()), f"{page}: {option}"

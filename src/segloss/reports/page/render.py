"""Templates, and what makes the page safe and self-contained: escaped JSON, packed details, scripts named by hash."""

import base64
import gzip
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

ASSETS = files(__package__) / "assets"
# In dependency order.
PAGE_SCRIPTS = ("elements", "controls", "entries", "charts", "tables", "cell", "start")
HEAD = 2**16  # bytes of a page that hold its summary
UNSAFE = re.compile("[<>&\u2028\u2029]")
SUMMARY = re.compile(r'<script type="application/json" id="summary">(.*?)</script>', re.DOTALL)


def to_json(data: Any) -> str:
    r"""JSON that is safe inside a <script> element: ``<``, ``>``, ``&`` and line separators are written as \uXXXX."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return UNSAFE.sub(lambda sign: f"\\u{ord(sign.group()):04x}", text)


def pack(data: Any) -> str:
    """Data as JSON, gzip and base64, which the browser unpacks when first needed. Equal data give equal text."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()


@cache
def asset(name: str) -> str:
    """The text of a file in assets/."""
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def chart_library() -> str:
    """Vega, Vega-Lite and Vega-Embed in the version that Altair writes for, as one script."""
    import vl_convert
    from altair import SCHEMA_VERSION

    return vl_convert.javascript_bundle(vl_version=".".join(SCHEMA_VERSION.lstrip("v").split(".")[:2]))


def script(text: str) -> str:
    """A script that is safe inside a page: without a closing tag or the start of a comment."""
    return text.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def source_hash(text: str) -> str:
    """A script's hash source in the content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def render(template: str, *, summary: Any, **content: Any) -> str:
    """A page from a template of assets/, which escapes everything in `content`.

    The content security policy allows only the page's own scripts to run and nothing to be fetched.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    scripts = {"theme": script(asset("theme.js"))}
    if template == "page.html.j2":
        page = "\n".join(asset(f"{name}.js") for name in PAGE_SCRIPTS)
        scripts["table"] = script(asset("dataTables.min.js"))
        scripts["page"] = script(f'"use strict";\n(() => {{\n{page}}})();\n')
        scripts["charts"] = script(chart_library())
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(source_hash(text) for text in scripts.values())}",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    environment = Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["json"] = to_json
    return environment.get_template(template).render(
        summary=summary, scripts=scripts, policy=policy, style=asset("page.css"), **content
    )


def read_summary(page: Path) -> dict[str, Any] | None:
    """The summary at the head of a page; None if it has none."""
    with page.open("rb") as file:
        head = file.read(HEAD).decode("utf-8", errors="replace")
    match = SUMMARY.search(head)
    if not match:
        return None
    try:
        return json.loads(match.group(1))
    except ValueError:
        return None

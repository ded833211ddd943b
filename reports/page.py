"""What every HTML page is made of: drawings with ids of their own, the template environment, the one script.

All text from files goes through Jinja2's autoescape; specs and data go into data blocks as JSON with `<` escaped; the
one script is allowed by its hash, everything else is forbidden by a Content-Security-Policy.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from . import words
from .drawing import Chart, svg
from .palette import SHAPES

__all__ = ["Drawn", "asset", "draw", "environment", "json_block", "script", "sha256", "with_code"]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A chart with its static drawing; *ident* is unique in the page."""

    ident: str
    chart: Chart
    svg: str


_IDS = re.compile(r'(\bid="|url\(#)')


def draw(ident: str, chart: Chart) -> Drawn:
    """Draw *chart*; ids inside the SVG get *ident* in front, so that no two drawings of a page share one."""
    return Drawn(ident=ident, chart=chart, svg=_IDS.sub(rf"\g<1>{ident}-", svg(chart)))


def asset(name: str) -> str:
    """The text of a file among the templates."""
    return files("bakeoff.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _vega() -> str:
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


@cache
def script(live: bool) -> str:
    """The page's own code, with Vega before it if *live*, as one function: no name becomes global; safe in a tag."""
    bundle = f"{_vega() if live else ''}\n{asset('page.js')}"
    safe = re.sub(r"</(?=script)", r"<\\/", bundle, flags=re.IGNORECASE).replace("<!--", r"<\!--")
    return f"(() => {{\n{safe}\n}})();"


def sha256(text: str) -> str:
    """As a Content-Security-Policy wants it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def json_block(spec: dict[str, Any]) -> str:
    """JSON for a data block: without `<`, `>` and `&` nothing in it can end the block."""
    text = json.dumps(spec, separators=(",", ":"), allow_nan=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def with_code(text: str) -> Any:
    """*text*, escaped, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = re.split("`([^`]+)`", text)
    marked = (Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts))
    return Markup("").join(marked)


def environment(**names: Any) -> Any:
    """Templates with autoescape; *names* are global in them, beside what every page needs.

    The filter `code` is `with_code`.
    """
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("bakeoff.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["code"] = with_code
    found.globals |= {"words": words, "shapes": SHAPES, "json_block": json_block, **names}
    return found

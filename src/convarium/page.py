"""A page in one file: it fetches nothing, and its own policy refuses whatever else would run in it."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2937;--quiet:#4b5563;--line:#d1d5db;--link:#1d4ed8}
@media(prefers-color-scheme:dark){:root{--paper:#111827;--ink:#e5e7eb;--quiet:#9ca3af;--line:#4b5563;--link:#93c5fd}}
body{margin:0 auto;max-width:1240px;padding:16px;background:var(--paper);color:var(--ink);
font:15px/1.45 'DejaVu Sans',Verdana,'Segoe UI',Arial,sans-serif}
h1{font-size:22px}h2{font-size:18px;margin-top:36px}h3{font-size:16px;margin-bottom:4px}
a{color:var(--link)}svg{max-width:100%;height:auto}p,.quiet{color:var(--quiet)}p{max-width:80ch}
table{border-collapse:collapse;font-size:13px}caption{text-align:left;color:var(--quiet);padding:4px 0}
td,th{padding:2px 10px 2px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
summary{cursor:pointer}:focus-visible{outline:3px solid var(--link);outline-offset:2px}
@media print{body{max-width:none}details::details-content{content-visibility:visible;block-size:auto}
svg,table{break-inside:avoid}}
"""


def page(
    title: str,
    body: str,
    *,
    style: str = "",
    scripts: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    pictures: bool = False,
    live: bool = False,
) -> str:
    """A whole page around a body of HTML, which the caller has escaped.

    scripts: run at its end, in turn. data: what they read, by the id of the element that holds it as JSON. pictures:
    it has some, as `data:` addresses. live: its scripts may ask the server that it came from.
    """
    styles = STYLE + style
    policy = {
        "default-src": "'none'",
        "style-src": _hash(styles),
        "script-src": " ".join(map(_hash, scripts)) or "'none'",
        **({"img-src": "data:"} if pictures else {}),
        **({"connect-src": "'self'"} if live else {}),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    allowed = "; ".join(f"{name} {value}" for name, value in policy.items())
    blocks = [
        f'<script type="application/json" id="{name}">{_json(value)}</script>' for name, value in (data or {}).items()
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{styles}</style></head><body><main>{body}</main>"
        + "".join([*blocks, *(f"<script>{script}</script>" for script in scripts)])
        + "</body></html>\n"
    )


def _json(value: Any) -> str:
    """JSON that ends no element of a page, whatever its texts say."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def table(headings: list[str], rows: list[list[str]], *, caption: str = "", numbers: int = 0) -> str:
    """A table of texts; the last `numbers` columns are numbers. Each row is headed by its first cell."""
    first = len(headings) - numbers
    heads = "".join(f'<th scope="col"{_number(k >= first)}>{escape(text)}</th>' for k, text in enumerate(headings))
    lines = []
    for name, *cells in rows:
        filled = "".join(f"<td{_number(k >= first)}>{escape(text)}</td>" for k, text in enumerate(cells, start=1))
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{filled}</tr>')
    captioned = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{captioned}<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _number(is_one: bool) -> str:
    return ' class="n"' if is_one else ""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

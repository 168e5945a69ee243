"""Pieces of HTML: texts from elsewhere, escaped, and moments. Pure."""

import datetime as dt
import html
from collections.abc import Mapping

from consul_ebpf.base.lines import one_line

LONGEST_TEXT = 300
"""Characters of a text from elsewhere."""


def text_of(text: object) -> str:
    """Return a text from elsewhere: one line, no markup, not too long."""
    return html.escape(one_line(text, LONGEST_TEXT))


def time_of(at: float) -> str:
    """Return a moment; empty: it is 0, so not known."""
    if not at:
        return ""
    local = dt.datetime.fromtimestamp(int(at), dt.UTC).astimezone()
    shown = local.strftime("%m-%d %H:%M:%S")
    return f'<time datetime="{local.isoformat()}">{shown}</time>'


def rate_of(rates: Mapping[str, float], server: str) -> str:
    """Return a server's connects of a second; `-`: they are not known."""
    return f"{rates[server]:.1f}" if server in rates else "-"

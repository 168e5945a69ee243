"""Prints what commands say; every line is printable.

Names of nodes and proxies, and errors, come from the network. They must not forge lines
that a script reads, nor send codes to a terminal.
"""

import json
import re
from typing import Any

import click

from consul_ebpf.base.lines import printable

_NOT_ASCII = re.compile(r"[^\n\r\t -~]")


def say(text: str, *, err: bool = False) -> None:
    """Print one line; `err`: to standard error."""
    click.echo(printable(text), err=err)


def say_json(value: Any, *, indented: bool = True) -> None:
    """Print a value as JSON in ASCII; not indented it is one line."""
    click.echo(json.dumps(value, indent=2 if indented else None))


def say_json_text(text: str) -> None:
    """Print JSON from elsewhere, with JSON's escapes for what is not ASCII."""
    click.echo(_NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text))

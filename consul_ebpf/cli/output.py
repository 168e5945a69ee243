"""What commands print: each line printable, whatever its names are called.

Names of nodes, proxies and errors come from the network. They must not forge lines in
what a script reads, nor reach the terminal as codes.
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


def say_json(value: Any) -> None:
    """Print a value as indented JSON in ASCII."""
    click.echo(json.dumps(value, indent=2))


def say_json_text(text: str) -> None:
    """Print JSON that somebody else made; what is not ASCII becomes JSON's escapes."""
    click.echo(_NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text))

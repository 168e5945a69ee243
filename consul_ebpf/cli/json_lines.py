"""Log lines as JSON."""

import logging
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from consul_ebpf.base.lines import printable
from consul_ebpf.cli.logs import MAX_TRACEBACK, TimesWithOffset, readable


class JsonLineFormatter(TimesWithOffset, JsonFormatter):
    """Makes one line of JSON in ASCII; decoded, its texts are printable, too."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        return super().format(readable(record))

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Make every text printable, and cut tracebacks to `MAX_TRACEBACK`."""
        return {key: _shown(value) for key, value in log_data.items()}


def _shown(value: Any) -> Any:
    return printable(value[-MAX_TRACEBACK:]) if isinstance(value, str) else value

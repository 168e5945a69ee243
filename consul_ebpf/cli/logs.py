"""Logs on standard error: lines for people, or JSON by choice."""

import logging

from pythonjsonlogger.json import JsonFormatter

from consul_ebpf.config.schema import Log


def set_up(config: Log) -> None:
    """Send this package's log there as configured; other libraries' from warning on."""
    handler = logging.StreamHandler()
    if config.format == "json":
        formatter: logging.Formatter = JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
    else:
        formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
    formatter.default_msec_format = "%s.%03d"
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("consul_ebpf").setLevel(config.level.upper())

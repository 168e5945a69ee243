"""Logs on standard error: lines for people, or JSON by choice."""

import logging

from consul_ebpf.base.events import EventCounter
from consul_ebpf.config.schema import Log


def set_up(config: Log) -> EventCounter:
    """Send this package's log there as configured; other libraries' from warning on.

    Returns what counts the events in it.
    """
    handler = logging.StreamHandler()
    if config.format == "json":
        # Imported here: lines for people need no more than the standard library.
        from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415

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
    handler.addFilter(_one_line)
    root = logging.getLogger()
    counter = EventCounter()
    root.handlers[:] = [handler, counter]
    root.setLevel(logging.WARNING)
    level = logging.getLevelNamesMapping()[config.level.upper()]
    handler.setLevel(level)
    # Events are counted whether or not they are shown.
    logging.getLogger("consul_ebpf").setLevel(min(level, logging.INFO))
    return counter


def _one_line(record: logging.LogRecord) -> bool:
    """Leave out gRPC's tracebacks: of its own code, and its line says as much."""
    if record.name.startswith("grpc"):
        record.exc_info = None
    return True

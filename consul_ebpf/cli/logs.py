"""Logs on standard error: lines for people, or JSON by choice.

Each record is one line of printable characters, also for tracebacks and names from the
network: the formatters see to that for every logger. Times carry their offset from UTC.
"""

import datetime as dt
import logging
import sys
import threading
import traceback
from types import TracebackType

from consul_ebpf.base.events import EventCounter
from consul_ebpf.base.lines import printable
from consul_ebpf.cli.output import say
from consul_ebpf.config.schema import Log

MAX_MESSAGE = 4000
"""Characters shown of one message."""

MAX_TRACEBACK = 16_000
"""Characters shown of a traceback: its end, where the error is."""

logger = logging.getLogger(__name__)


def set_up(config: Log) -> EventCounter:
    """Log to standard error as configured; other libraries only from warning on.

    Uncaught exceptions and Python's warnings are logged, too.

    Returns:
        What counts the events in the log.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(config.format))
    handler.addFilter(_without_grpcs_traceback)
    root = logging.getLogger()
    counter = EventCounter()
    root.handlers[:] = [handler, counter]
    root.setLevel(logging.WARNING)
    level = logging.getLevelNamesMapping()[config.level.upper()]
    handler.setLevel(level)
    # Events are counted whether or not they are shown.
    logging.getLogger("consul_ebpf").setLevel(min(level, logging.INFO))
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    return counter


def set_up_commands() -> None:
    """Make printable what commands but `run` log, and the traceback of a crash."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter("consul-ebpf: %(message)s"))
    sys.excepthook = _last_words


def formatter(kind: str) -> logging.Formatter:
    """Return the formatter of `log.format`: "text" or "json"."""
    if kind == "text":
        return LineFormatter("%(asctime)s %(levelname)-7s %(message)s")
    # Memory that other hosts do not need.
    from consul_ebpf.cli.json_lines import JsonLineFormatter  # noqa: PLC0415

    return JsonLineFormatter(
        "{asctime}{levelname}{name}{message}",
        style="{",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        json_default=str,
    )


class TimesWithOffset(logging.Formatter):
    """Times as all formatters of ours show them."""

    def formatTime(  # noqa: N802  # logging's own name
        self,
        record: logging.LogRecord,
        datefmt: str | None = None,  # noqa: ARG002
    ) -> str:
        """Return the record's local time in ISO 8601, with its offset from UTC."""
        local = dt.datetime.fromtimestamp(record.created, dt.UTC).astimezone()
        return local.isoformat(timespec="milliseconds")


class LineFormatter(TimesWithOffset):
    """Makes one line of a record, for people."""

    def format(self, record: logging.LogRecord) -> str:
        r"""Return one printable line; line ends within are written as `\n`."""
        return printable(super().format(readable(record)))

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """Return the end of the traceback."""
        return super().formatException(ei)[-MAX_TRACEBACK:]


def readable(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy whose message can be formatted and is not too long."""
    try:
        message = record.getMessage()
    except Exception as error:  # noqa: BLE001  # an argument's own __str__ among them
        message = f"{str(record.msg)[:MAX_MESSAGE]} ({type(error).__name__} in its log)"
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]}..."
    return logging.makeLogRecord({**record.__dict__, "msg": message, "args": None})


def _without_grpcs_traceback(record: logging.LogRecord) -> bool:
    """Remove gRPC's tracebacks: they are of its own code; its message says it all."""
    if record.name.startswith("grpc"):
        record.exc_info = None
    return True


def _uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logger.critical("ends: an unexpected error", exc_info=(kind, error, trace))


def _last_words(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    for text in traceback.format_exception(kind, error, trace):
        for line in text.rstrip("\n").split("\n"):
            say(line, err=True)


def _uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        name = hook.thread.name if hook.thread else "a thread"
        logger.error("%s ended: an unexpected error", name, exc_info=hook.exc_value)

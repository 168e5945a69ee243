"""Writes each proxy's files, and says what they hold. Blocking.

If something goes wrong with one proxy, its outcome says so, and the next proxy's files
are written all the same. What a running Envoy uses is never removed.

If a proxy's inputs have not changed, nothing is rendered and no file is looked at:
`envoy/right_files.py` notices if somebody else changes them.
"""

import logging
import os
import stat
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.events import event
from consul_ebpf.controller.inputs import (
    NO_BOOTSTRAP,
    Inputs,
    params_of,
    secret,
    waits,
)
from consul_ebpf.controller.outcomes import Served, Trouble
from consul_ebpf.controller.placing import bare
from consul_ebpf.controller.record import Record
from consul_ebpf.envoy.borrowed import NotThereError
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.envoy.right_files import WrongFiles
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.errors import ConsulEbpfError, InvalidProxyError
from consul_ebpf.model.seams import BootstrapRenderer, Noting
from consul_ebpf.model.token_keys import token_of
from consul_ebpf.model.values import PlacedProxy, Proxy

logger = logging.getLogger(__name__)

STAYS = "its last bootstrap stays"
OLD_FILES = "its files stay as they were"


@dataclass(frozen=True, slots=True)
class _Made:
    """A bootstrap, or why there is none."""

    bootstrap: Mapping[str, Any] | None = None
    trouble: Trouble | None = None
    notes: tuple[str, ...] = ()


class Writer:
    """Writes files whose inputs changed; remembers what each proxy's hold."""

    def __init__(self, renderer: BootstrapRenderer, files: BootstrapFiles) -> None:
        self._renderer = renderer
        self._files = files
        self._notes: dict[str, tuple[str, ...]] = {}
        """The notes on the newest bootstrap that could be made, by proxy key."""
        self._records: dict[str, Record] = {}
        """By proxy key. Those that are not complete say what was written all the same.
        """
        self._wrong: WrongFiles | None = None
        """The wrong files that were last marked to be written again."""

    def __repr__(self) -> str:
        return f"<Writer {self._files!r}>"

    def serve(self, placed: PlacedProxy, inputs: Inputs) -> Served:
        """Write the files of a proxy that is in the kernel; return the outcome."""
        key = placed.proxy.key
        known = self._records.get(key)
        if known is not None and known.is_of(placed, inputs):
            return known
        self._records[key] = record = self._write(placed, inputs, known)
        if record.complete:
            self._files.right.keep(key)
        return record

    def write_again(self, wrong: WrongFiles) -> None:
        """Have the next `serve` write these proxies' files, even without new inputs."""
        if wrong != self._wrong:
            self._wrong = wrong
            for key in wrong.keys:
                if (known := self._records.get(key)) is not None:
                    self._records[key] = replace(known, complete=False)
                self._files.right.forget(key)

    def _write(
        self, placed: PlacedProxy, inputs: Inputs, known: Record | None
    ) -> Record:
        """Write what differs from `known`; if it has another bootstrap, all may."""
        proxy, done = placed.proxy, known
        if done is not None and not done.has_bootstrap_of(placed, inputs):
            done = None
        failed, wrote = self._write_secrets(proxy, inputs, done)
        given = token_of(proxy, inputs.tokens)
        token = self._held(proxy, wrote or (known.token if known else None))
        if done is not None and failed is None:
            return replace(done, token=token, given=given, tls=inputs.tls)
        path = self._files.bootstrap_path(proxy)
        there = _is_file(path)
        made = self._make(placed, inputs, there=there)
        trouble = made.trouble
        if made.bootstrap is not None:
            if failed is None:  # Envoy does not start without the files it names
                failed = self._write_bootstrap(placed, made.bootstrap, there=there)
            there = _is_file(path)
            self._note(proxy.key, made.notes)
        if failed is not None:
            effect = OLD_FILES if there else NO_BOOTSTRAP
            # A volume goes just before its proxy does: that is nobody's mistake.
            gone = isinstance(failed, NotThereError)
            trouble = Trouble(bare(proxy, str(failed)), effect, fleeting=gone)
        return Record(
            placed,
            token=token,
            bootstrap=there,
            complete=failed is None,
            waiting=None if there else trouble,
            trouble=trouble if there else None,
            notes=self._notes.get(proxy.key, ()) if there else (),
            given=given,
            tls=inputs.tls,
            params=params_of(proxy, inputs),
        )

    def _note(self, key: str, notes: tuple[str, ...]) -> None:
        if notes:
            self._notes[key] = notes
        else:
            self._notes.pop(key, None)

    def forget(self, keep: AbstractSet[str]) -> None:
        """Forget all proxies but these."""
        for gone in self._records.keys() - keep:
            self._files.right.forget(gone)
            self._notes.pop(gone, None)
            del self._records[gone]

    def _write_secrets(
        self, proxy: Proxy, inputs: Inputs, done: Record | None
    ) -> tuple[ConsulEbpfError | None, str]:
        """Write the TLS files, then the token.

        Returns:
            Which failed, or None; the token that was written, or empty.
        """
        failed, token, wrote = None, secret(inputs, proxy), ""
        if done is None or done.tls != inputs.tls:
            failed = _attempt(lambda: self._files.write_tls(proxy, inputs.tls))
        if token and (done is None or done.given != token):
            refused = _attempt(lambda: self._files.write_token(proxy, token))
            wrote = "" if refused else token
            failed = refused or failed
        return failed, wrote

    def _make(self, placed: PlacedProxy, inputs: Inputs, *, there: bool) -> _Made:
        """Render the bootstrap, unless it has to wait; meanwhile an old one stays."""
        proxy = placed.proxy
        why = waits(proxy, inputs)
        found = params_of(proxy, inputs)
        if why is not None:
            if there or not _lacks_only_central(proxy, inputs):
                return _Made(trouble=None if there else why)
            logger.warning(
                "proxy %s: its bootstrap is written without what Consul says of it"
                " (central configuration), and again once that is known: %s",
                proxy.name,
                why.cause,
                extra=event("without_central"),
            )
        params = None if isinstance(found, Missing) else found
        try:
            with boundary(InvalidProxyError, "its bootstrap cannot be made"):
                bootstrap = self._renderer.render(placed, params)
                notes: tuple[str, ...] = ()
                if isinstance(self._renderer, Noting):
                    notes = tuple(self._renderer.notes(placed, params))
        except ConsulEbpfError as error:
            cause = bare(proxy, str(error))
            return _Made(trouble=Trouble(cause, STAYS if there else NO_BOOTSTRAP))
        return _Made(bootstrap, notes=tuple(bare(proxy, each) for each in notes))

    def _write_bootstrap(
        self, placed: PlacedProxy, bootstrap: Mapping[str, Any], *, there: bool
    ) -> ConsulEbpfError | None:
        def write() -> None:
            if self._files.write(placed, bootstrap) and there:
                logger.warning(
                    "proxy %s: its bootstrap has changed; its Envoy takes that up"
                    " when it is restarted",
                    placed.proxy.name,
                    extra=event("bootstrap_changed"),
                )

        return _attempt(write)

    def _held(self, proxy: Proxy, last: str | None) -> str | None:
        """Return the token in a proxy's file; None: it is not known.

        Args:
            proxy: whose.
            last: what was last written there; empty or None: nothing that is known.
        """
        return (last or None) if _is_file(self._files.token_path(proxy)) else ""


def _lacks_only_central(proxy: Proxy, inputs: Inputs) -> bool:
    """Whether a bootstrap waits for what Consul says of it alone, and too long."""
    params = params_of(proxy, inputs)
    overdue = isinstance(params, Missing) and params.overdue
    token = token_of(proxy, inputs.tokens)
    known = bool(proxy.id) and not proxy.ended
    return overdue and known and not isinstance(token, Missing)


def _attempt(write: Callable[[], object]) -> ConsulEbpfError | None:
    """Write; return why that failed, or None."""
    try:
        with boundary(ConsulEbpfError, "its files cannot be written"):
            write()
    except ConsulEbpfError as error:
        return error
    return None


def _is_file(path: Path) -> bool:
    """Whether there is a regular file, not a link or a directory."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False

"""BCC for a guest without KVM: what it compiled once is loaded without it again.

There a compilation takes ten seconds, and each test loads a program. This module stands
before Debian's on the guest's `PYTHONPATH`. The first time that a source comes with
these constants, Debian's BCC compiles and loads it, and its instructions are kept; from
then on they are loaded for the tables that the new job names.
"""

import contextlib
import ctypes
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

KEPT = Path("/tmp/bcc-once")
"""In a guest, in which nobody else is."""
PIN = "-DPIN_"
LOAD_IMMEDIATE, PSEUDO_MAP_FD = 0x18, 1
INSTRUCTION_BYTES = 8


class _LoadOpts(ctypes.Structure):
    """Head of struct bpf_prog_load_opts."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("attach_type", ctypes.c_int),
    ]


class _Function:
    """What BCC returns for a loaded function."""

    def __init__(self, fd: int) -> None:
        self.fd = fd


class _Kept:
    """The part of `bcc.BPF` that the loader uses, for what was compiled before."""

    def __init__(self, functions: dict[str, Any], tables: dict[str, int]) -> None:
        self._functions = functions
        self._tables = tables

    def load_func(self, name: str, prog_type: int, attach_type: int) -> _Function:
        """Load a function's instructions."""
        code = bytearray.fromhex(self._functions[name]["code"])
        for at, table in self._functions[name]["tables"]:
            code[at + 4 : at + 8] = self._tables[table].to_bytes(4, "little")
        fd = _libbpf().bpf_prog_load(
            prog_type,
            name.encode(),
            b"GPL",
            bytes(code),
            ctypes.c_size_t(len(code) // INSTRUCTION_BYTES),
            ctypes.byref(_LoadOpts(ctypes.sizeof(_LoadOpts), 0, attach_type)),
        )
        if fd < 0:
            why = os.strerror(ctypes.get_errno())
            raise Exception(f"Failed to load BPF program {name}: {why}")  # noqa: TRY002  # BCC's
        return _Function(fd)


def BPF(text: str, cflags: list[str]) -> Any:  # noqa: N802  # BCC's name
    """Return a module of BCC's, or what stands for it if it was compiled before."""
    pins = dict(
        flag.removeprefix(PIN).replace('"', "").split("=", 1)
        for flag in cflags
        if flag.startswith(PIN)
    )
    kept = KEPT / _digest(text, cflags)
    if kept.exists():
        get = _libbpf().bpf_obj_get
        tables = {name: get(os.fsencode(path)) for name, path in pins.items()}
        return _Kept(json.loads(kept.read_text()), tables)
    module = _debians().BPF(text=text, cflags=cflags)
    with contextlib.suppress(KeyError):  # it has a table that is pinned nowhere
        functions = dict(_functions(module, pins))
        KEPT.mkdir(exist_ok=True)
        fresh = KEPT / f"{kept.name}-{os.getpid()}"
        fresh.write_text(json.dumps(functions))
        fresh.rename(kept)
    return module


def __getattr__(name: str) -> Any:
    return getattr(_debians(), name)


def _functions(module: Any, pins: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield each function's name, code, and where in it which table is named."""
    lib = _debians().lib
    by_fd = {lib.bpf_table_fd(module.module, n.lower().encode()): n for n in pins}
    for number in range(lib.bpf_num_functions(module.module)):
        name = lib.bpf_function_name(module.module, number)
        code = module.dump_func(name)
        tables = [
            (at, by_fd[int.from_bytes(code[at + 4 : at + 8], "little")])
            for at in _instructions(code)
            if (code[at], code[at + 1] >> 4) == (LOAD_IMMEDIATE, PSEUDO_MAP_FD)
        ]
        yield name.decode(), {"code": code.hex(), "tables": tables}


def _instructions(code: bytes) -> Iterator[int]:
    """Yield where each instruction begins; one that loads 64 bits is two long."""
    at = 0
    while at < len(code):
        yield at
        at += INSTRUCTION_BYTES * (2 if code[at] == LOAD_IMMEDIATE else 1)


def _digest(text: str, cflags: list[str]) -> str:
    """Return a digest of all that is compiled, wherever it is and its tables are."""
    digest = hashlib.sha256(text.encode())
    for flag in cflags:
        if flag.startswith("-I"):
            for path in sorted(Path(flag.removeprefix("-I")).rglob("*.h")):
                digest.update(path.read_bytes())
        elif not flag.startswith(PIN):
            digest.update(flag.encode())
    return digest.hexdigest()


def _debians() -> ModuleType:
    """Import Debian's BCC, before which this module stands."""
    here = str(Path(__file__).parent)
    sys.path = [path for path in sys.path if path != here]
    if sys.modules.get("bcc") is sys.modules.get(__name__):
        del sys.modules["bcc"]
    return importlib.import_module("bcc")


def _libbpf() -> ctypes.CDLL:
    return ctypes.CDLL("libbpf.so.1", use_errno=True)

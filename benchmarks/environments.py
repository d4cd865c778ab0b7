"""The peers' environments, made on demand by pip."""

import os
import sys
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks.frame import ROOT
from benchmarks.servers import run_command

APPS: Final = ROOT / "benchmarks" / "peers"
_HOME: Final = ROOT / "benchmarks" / ".peers"
_SERVER: Final = ("uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0")


class Peer(Struct, frozen=True):
    """A library to measure beside: what pip installs, and the app of ours that puts it behind uvicorn."""

    name: str
    requirements: tuple[str, ...]
    app: str


PY_OCPI: Final = Peer("py-ocpi", ("py-ocpi==0.3.1", "setuptools<81"), "py_ocpi_app:app")
EXTRAWEST: Final = Peer("extrawest-ocpi", ("extrawest-ocpi==2025.7.16",), "extrawest_app:app")


async def python_of(peer: Peer) -> Path:
    """Return the interpreter of the peer's environment, making it first where there is none. Raises Unavailable."""
    home = _HOME / peer.name
    python = home / "bin" / "python"
    wanted = "\n".join((*peer.requirements, *_SERVER))
    ready = home / "installed"
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        await run_command(sys.executable, "-m", "venv", "--clear", os.fspath(home))
        await run_command(str(python), "-m", "pip", "install", "--quiet", *peer.requirements, *_SERVER)
        ready.write_text(wanted, encoding="utf-8")
    return python

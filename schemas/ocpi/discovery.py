"""Which OCPI versions there are: every module of this package that is called after one."""

import importlib
import pkgutil
import re
from typing import Final

import schemas.ocpi
from schemas.ocpi.dialect import Dialect

_COMING: Final = frozenset({"v2_0", "v2_1_1"})
"""Versions that objects are converted to and from, and that are not offered to partners yet."""


def discover() -> dict[str, Dialect]:
    """Return the dialects by version number, oldest first. A new version is one file `v…py` that offers `dialect()`."""
    names = [
        name
        for _, name, _ in pkgutil.iter_modules(schemas.ocpi.__path__)
        if re.fullmatch(r"v[0-9_]+", name) and name not in _COMING
    ]
    dialects: list[Dialect] = [importlib.import_module(f"schemas.ocpi.{name}").dialect() for name in names]
    return {dialect.version: dialect for dialect in sorted(dialects, key=lambda dialect: dialect.version.split("."))}

"""Which OCPI versions there are: every module of this package that is called after one."""

import importlib
import pkgutil
import re

import schemas.ocpi
from schemas.ocpi.dialect import Dialect


def discover() -> dict[str, Dialect]:
    """Return the dialects by version number, oldest first. A new version is one file `v…py` that offers `dialect()`."""
    names = [name for _, name, _ in pkgutil.iter_modules(schemas.ocpi.__path__) if re.fullmatch(r"v[0-9_]+", name)]
    dialects: list[Dialect] = [importlib.import_module(f"schemas.ocpi.{name}").dialect() for name in names]
    return {dialect.version: dialect for dialect in sorted(dialects, key=lambda dialect: dialect.version.split("."))}

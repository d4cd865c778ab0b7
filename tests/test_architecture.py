"""The arrows of the house, read from the sources: who may import whom, and who may not touch the world."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("schemas", "streams", "ingest", "api", "roamlog")

MAY_IMPORT: Final[dict[str, frozenset[str]]] = {
    "schemas": frozenset(),
    "streams": frozenset({"schemas"}),
    "ingest": frozenset({"schemas", "streams"}),
    "api": frozenset({"schemas", "streams"}),
    "roamlog": frozenset({"schemas", "streams", "ingest", "api"}),
}

DISCOVERY: Final = "schemas/ocpi/discovery.py"
"""Where a folder is read at start-up, so that an OCPI version is one file; the only pure module that may."""

FAUST_HOME: Final = "streams/runtimes/faust_app.py"

PURE: Final = ("schemas", "streams/projections", "streams/projection.py", "streams/topics.py", "streams/links.py")
"""Where there is no I/O, no clock, no chance, no task: what is folded today must fold to the same tomorrow."""

WORLD: Final = frozenset(
    {
        "aiofiles", "aiohttp", "aiokafka", "asyncio", "chdb", "clickhouse_connect", "concurrent", "ctypes", "fcntl",
        "fileinput", "ftplib", "glob", "http", "httpx2", "importlib", "locale", "logging", "mmap", "multiprocessing", "os",
        "pathlib", "pkgutil", "platform", "queue", "random", "sched", "secrets", "select", "selectors", "shutil", "signal",
        "smtplib", "socket", "socketserver", "sqlite3", "ssl", "starlette", "subprocess", "sys", "tempfile", "threading",
        "time", "timeit", "urllib", "uuid", "uvicorn", "uvloop",
    }
)
HARMLESS: Final[dict[str, frozenset[str]]] = {
    "importlib": frozenset({"resources"}),  # the .avsc files that the package itself ships
    "urllib": frozenset({"parse"}),
    "uuid": frozenset({"UUID"}),
}
IO_NAMES: Final = frozenset({"BytesIO", "StringIO"})
CLOCK_CALLS: Final = frozenset({"now", "utcnow", "today"})
WORLDLY_BUILTINS: Final = frozenset({"open", "input", "print", "__import__", "breakpoint"})


class Import:
    """One import: the module, the name taken from it (`*` for the module itself), the line."""

    def __init__(self, module: str, name: str, line: int) -> None:
        self.module, self.name, self.line = module, name, line
        self.top = module.partition(".")[0]


def imports(tree: ast.Module, path: str) -> Iterator[Import]:
    """Yield every import of a file, also those in functions and under TYPE_CHECKING; relative ones are resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "*", node.lineno)
        elif isinstance(node, ast.ImportFrom):
            package = path.split("/")[: -node.level] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(module or alias.name, alias.name, node.lineno)


def sources(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            yield file.relative_to(root).as_posix(), ast.parse(file.read_text(encoding="utf-8"), str(file))


def broken_arrows(root: Path) -> list[str]:
    """Return each import that goes against an arrow, as `file:line: what`."""
    found = []
    for path, tree in sources(root):
        home = path.partition("/")[0]
        for one in imports(tree, path):
            if one.top in PACKAGES and one.top != home and one.top not in MAY_IMPORT[home]:
                found.append(f"{path}:{one.line}: {home} imports {one.module}")
            if one.top in {"tests", "benchmarks", "examples"}:
                found.append(f"{path}:{one.line}: {home} imports {one.module}")
            if one.top == "faust" and path != FAUST_HOME:
                found.append(f"{path}:{one.line}: only {FAUST_HOME} may import faust")
    return found


def worldly(root: Path) -> list[str]:
    """Return each place where code that must be pure reaches for I/O, a clock or chance, as `file:line: what`."""
    found = []
    for path, tree in sources(root):
        if path == DISCOVERY or not any(path == pure or path.startswith(f"{pure}/") for pure in PURE):
            continue
        for one in imports(tree, path):
            if one.top == "io" and one.name not in IO_NAMES:
                found.append(f"{path}:{one.line}: imports {one.name} of io")
            elif one.top in WORLD and not _harmless(one):
                found.append(f"{path}:{one.line}: imports {one.module}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                match node.func:
                    case ast.Attribute(attr=attr) if attr in CLOCK_CALLS:
                        found.append(f"{path}:{node.lineno}: calls {attr}()")
                    case ast.Name(id=name) if name in WORLDLY_BUILTINS:
                        found.append(f"{path}:{node.lineno}: calls {name}()")
            elif isinstance(node, ast.AsyncFunctionDef | ast.Await):
                found.append(f"{path}:{node.lineno}: waits, but pure code is plain def")
    return found


def _harmless(one: Import) -> bool:
    """Tell whether the import takes only a harmless part, as `from urllib.parse import quote` or `from uuid import UUID`."""
    parts = HARMLESS.get(one.top, frozenset())
    return one.module.partition(".")[2] in parts or (one.module == one.top and one.name in parts)


def tree_of(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def test_every_import_follows_the_arrows() -> None:
    assert broken_arrows(ROOT) == []


def test_schemas_and_projections_do_no_io_and_read_no_clock() -> None:
    assert worldly(ROOT) == []


def test_the_check_reads_every_package() -> None:
    seen = {path.partition("/")[0] for path, _ in sources(ROOT)}
    assert seen == set(PACKAGES)


@pytest.mark.parametrize(
    "name",
    [
        *("pyproject.toml", "README.md", "ingest", "streams", "api", "schemas", "tests", "docker-compose.yml"),
        *("Makefile", "CHANGELOG.md", "LICENSE", "decisions", "benchmarks", "requirements.lock"),
    ],
)
def test_the_top_level_has_its_fixed_names(name: str) -> None:
    assert (ROOT / name).exists()


def test_no_package_marker_lies_under_tests() -> None:
    # tests/api/__init__.py would shadow the real `api`.
    assert [str(file) for file in (ROOT / "tests").rglob("__init__.py")] == []


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("schemas/a.py", "import streams.ports\n", "schemas/a.py:1: schemas imports streams.ports"),
        ("schemas/ocpi/a.py", "from ...streams import ports\n", "schemas/ocpi/a.py:1: schemas imports streams"),
        ("streams/a.py", "def f():\n    from api import ocpi\n", "streams/a.py:2: streams imports api"),
        ("ingest/a.py", "from api.ocpi import app\n", "ingest/a.py:1: ingest imports api.ocpi"),
        ("api/a.py", "from ingest import push\n", "api/a.py:1: api imports ingest"),
        ("api/a.py", "import roamlog\n", "api/a.py:1: api imports roamlog"),
        ("streams/projector.py", "import faust\n", f"streams/projector.py:1: only {FAUST_HOME} may import faust"),
        ("api/a.py", "import tests.builders\n", "api/a.py:1: api imports tests.builders"),
    ],
)
def test_an_import_against_the_arrows_is_found(tmp_path: Path, path: str, text: str, complaint: str) -> None:
    assert broken_arrows(tree_of(tmp_path, {path: text})) == [complaint]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import os\n", "1: imports os"),
        ("from io import open\n", "1: imports open of io"),
        ("import urllib.request\n", "1: imports urllib.request"),
        ("from uuid import uuid4\n", "1: imports uuid"),
        ("from datetime import datetime\nat = datetime.now()\n", "2: calls now()"),
        ("def f():\n    return open('x')\n", "2: calls open()"),
        ("async def f() -> None: ...\n", "1: waits, but pure code is plain def"),
    ],
)
@pytest.mark.parametrize("path", ["schemas/a.py", "streams/projections/a.py"])
def test_a_worldly_line_in_pure_code_is_found(tmp_path: Path, path: str, text: str, complaint: str) -> None:
    assert worldly(tree_of(tmp_path, {path: text})) == [f"{path}:{complaint}"]


def test_what_is_allowed_is_left_alone(tmp_path: Path) -> None:
    files = {
        "schemas/a.py": "from io import BytesIO\nfrom urllib.parse import quote\nfrom uuid import UUID\nfrom . import b\n",
        "streams/projections/a.py": "from schemas.a import x\nfrom streams.projection import Fact\n",
        "streams/logs/local.py": "import asyncio, os, time\n",
        FAUST_HOME: "import faust\n",
        "roamlog/cli.py": "import os\nfrom api import a\nfrom ingest import b\n",
    }
    tree = tree_of(tmp_path, files)
    assert (broken_arrows(tree), worldly(tree)) == ([], [])

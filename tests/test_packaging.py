"""What is shipped: the wheel, the lock, the versions, the services' file."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
import yaml

from roamlog import settings
from roamlog.cli import app

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("schemas", "streams", "ingest", "api", "roamlog")


def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return loaded


def normal(requirement: str) -> str:
    """Return the distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_schema(wheel: Path) -> None:
    shipped = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for pattern in ("*.py", "*.avsc", "*.sql", "*.lock", "*.html", "*.js", "*.css")
        for file in (ROOT / package).rglob(pattern)
    }
    assert "schemas/avro/envelope.1.avsc" in wanted
    assert wanted - shipped == set()


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {*PACKAGES, f"roamlog-{version('roamlog')}.dist-info"}


def test_the_command_is_an_importable_entry_point() -> None:
    (command,) = entry_points(group="console_scripts", name="roamlog")
    assert callable(command.load())


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == project()["version"] == version("roamlog")


def locked() -> dict[str, str]:
    """Return each locked distribution with its version."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return {normal(name): pin for name, pin in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)}


def test_every_declared_dependency_is_locked() -> None:
    declared = {normal(r) for r in [*project()["dependencies"], *project()["optional-dependencies"]["dev"]]}
    assert declared - locked().keys() == set()


def test_the_lower_bounds_are_met_by_the_lock() -> None:
    pins = locked()
    for requirement in [*project()["dependencies"], *project()["optional-dependencies"]["dev"]]:
        bound = re.search(r">=([\d.]+)", requirement)
        assert bound is not None, requirement
        assert numbers(pins[normal(requirement)]) >= numbers(bound.group(1)), requirement


def numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release))


def test_every_locked_distribution_has_hashes_and_the_lock_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    unhashed = [entry.split()[0] for entry in entries if re.match(r"[A-Za-z0-9]", entry) and "--hash=sha256:" not in entry]
    assert unhashed == []
    assert "://" not in text
    assert not re.search(r"^\s*(--index-url|--extra-index-url|--find-links|-i|-f)\b", text, re.MULTILINE)


def services() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return loaded


OURS: Final = ("prepare", "ingest", "streams", "api")
LATER: Final = re.compile(r"\$\{(\w+)")


@pytest.mark.parametrize("name", ["kafka", "clickhouse", "proxy"])
def test_a_service_of_others_is_pinned_local_and_bounded(name: str) -> None:
    service = services()[name]
    assert re.search(r":\d+\.\d+\.\d+[\w.-]*$", service["image"]), "an image is pinned to a patch release"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["mem_limit"]
    assert name == "proxy" or (service["healthcheck"]["test"] and service["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_is_a_command_with_settings_that_exist(name: str) -> None:
    service = services()[name]
    command, *options = service["command"]
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert command == name
    given = {option for parameter in known[command].params for option in parameter.opts}
    assert {option for option in options if option.startswith("-")} <= given
    variables = {row.variable for scale in (False, True) for row in settings.table(scale)}
    assert set(service["environment"]) <= variables
    assert service["depends_on"]
    assert service["mem_limit"]
    assert name in {"prepare", "streams"} or service["healthcheck"]["test"]


def test_all_services_fit_into_four_gigabytes() -> None:
    limits = {
        name: service["mem_limit"] for name, service in services().items() if name != "prepare"
    }  # it ends before the others begin
    assert sum(int(limit[:-1]) * (1024 if limit.endswith("g") else 1) for limit in limits.values()) <= 4 * 1024


def test_whoever_needs_a_secret_is_told_so() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    demanded = {name for name in LATER.findall(text) if f"${{{name}:?" in text}
    assert demanded == {"CLICKHOUSE_PASSWORD", "ROAMLOG_PEPPER", "ROAMLOG_OPERATOR_TOKEN"}


def test_three_brokers_change_only_services_and_settings_that_exist() -> None:
    high: dict[str, Any] = yaml.safe_load((ROOT / "compose.ha.yml").read_text(encoding="utf-8"))
    variables = {row.variable for row in settings.table(scale=True)}
    brokers = {name for name in high["services"] if name.startswith("kafka")}
    assert len(brokers) == 3
    assert set(high["services"]) - brokers == set(OURS)
    assert set(high["x-three"]) <= variables
    assert {high["services"][name]["environment"]["KAFKA_NODE_ID"] for name in brokers} == {"1", "2", "3"}
    assert high["x-three"]["ROAMLOG_KAFKA"].count(",") == 2


def test_the_image_holds_every_package_and_begins_with_the_command() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert all(f"COPY {package} {package}" in lines for package in PACKAGES)
    assert "--require-hashes -r requirements.lock" in lines
    assert 'ENTRYPOINT ["roamlog"]' in lines
    assert "USER roamlog" in lines


def test_kafka_neither_creates_topics_by_itself_nor_forgets_records() -> None:
    settings = services()["kafka"]["environment"]
    assert (settings["KAFKA_AUTO_CREATE_TOPICS_ENABLE"], settings["KAFKA_LOG_RETENTION_MS"]) == ("false", "-1")

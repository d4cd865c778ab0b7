"""What is shipped: the wheel, the lock, the versions, the services' file."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
import typer.main
import yaml
from fastapi import Request

from api import health
from api.health import Readiness
from roamlog import settings
from roamlog.cli import app
from streams.metrics import Metrics

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


SAID: Final = re.findall(r"^    \.venv/bin/roamlog ([^#&\n]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("line", SAID)
def test_a_command_of_the_readme_can_be_given(line: str) -> None:
    command = typer.main.get_command(app)
    words = shlex.split(line)
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    assert getattr(command, "invoke_without_command", True), f"{line} lacks a command"
    command.make_context("roamlog", words)


def test_the_variables_of_the_readme_are_settings() -> None:
    known = {row.variable for scale in (False, True) for row in settings.table(scale)} | settings.BESIDE
    assert set(re.findall(r"ROAMLOG_\w+", (ROOT / "README.md").read_text(encoding="utf-8"))) <= known


def loaded(name: str) -> dict[str, Any]:
    """Return a compose file, its YAML merges (`<<`) resolved."""
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return found


def over(below: Any, above: Any) -> Any:
    """Return what Compose makes of two files: mappings key by key, lists one after the other, else the second."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: over(below[key], value) if key in below else value for key, value in above.items()}
    return [*below, *above] if isinstance(below, list) and isinstance(above, list) else above


ONE: Final = loaded("docker-compose.yml")
THREE: Final = over(ONE, loaded("compose.ha.yml"))
HOUSES: Final = {"one broker": ONE, "three brokers": THREE}
OURS: Final = ("prepare", "ingest", "streams", "api", "pull")
EVERY_SERVICE: Final = [
    pytest.param(house, name, id=f"{title}-{name}") for title, house in HOUSES.items() for name in house["services"]
]
EVERY_OURS: Final = [pytest.param(house, name, id=f"{title}-{name}") for title, house in HOUSES.items() for name in OURS]
DEMANDED: Final = re.compile(r"\$\{(\w+):\?")
PORT: Final = re.compile(r"(?P<host>[\w.-]*):(?P<port>\d+)$")


@pytest.mark.parametrize("name", ["docker-compose.yml", "compose.ha.yml"])
def test_a_compose_file_is_as_the_compose_specification_says(name: str) -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema_rs.validator_for(schema)
    assert [error.message for error in validator.iter_errors(loaded(name))] == []
    misspelt = over(loaded(name), {"services": {"kafka": {"healtcheck": {}}}})
    assert not validator.is_valid(misspelt)


@pytest.mark.parametrize(("house", "name"), EVERY_SERVICE)
def test_a_service_is_bounded_local_and_needs_only_what_is_there(house: dict[str, Any], name: str) -> None:
    service = house["services"][name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["restart"] == ("no" if name == "prepare" else "unless-stopped")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(house["volumes"])
    assert {config["source"] for config in service.get("configs", ())} <= set(house.get("configs", {}))
    for needed, how in service.get("depends_on", {}).items():
        other = house["services"][needed]
        match how["condition"]:
            case "service_healthy":
                assert other["healthcheck"]["test"]
            case "service_completed_successfully":
                assert other["restart"] == "no", "one that is started again never completes"
            case _:
                pytest.fail(f"{name} waits for nothing that {needed} tells")


@pytest.mark.parametrize(("house", "name"), EVERY_SERVICE)
def test_a_service_of_others_is_pinned_keeps_its_data_and_tells_its_health(house: dict[str, Any], name: str) -> None:
    service = house["services"][name]
    if name in OURS:
        assert service["image"] == "roamlog:local"
        assert (ROOT / service["build"] / "Dockerfile").is_file()
        return
    assert re.search(r":\d+\.\d+\.\d+[\w.-]*$", service["image"]), "an image is pinned to a patch release"
    assert service["healthcheck"]["test"]
    assert name == "proxy" or service["volumes"]


@pytest.mark.parametrize(("house", "name"), EVERY_OURS)
def test_a_service_of_ours_is_a_command_with_settings_that_exist(
    house: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = house["services"][name]
    command, *options = service["command"]
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert command == name
    given = {option for parameter in known[command].params for option in parameter.opts}
    assert {option for option in options if option.startswith("-")} <= given
    assert set(service["environment"]) <= {row.variable for scale in (False, True) for row in settings.table(scale)}
    for variable in [variable for variable in os.environ if variable.startswith(settings.PREFIX)]:
        monkeypatch.delenv(variable)
    for variable, value in service["environment"].items():
        monkeypatch.setenv(
            variable, re.sub(r"\$\{\w+:\?.*\}", "s" * settings.SECRET_CHARACTERS, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))
        )
    settings.read_scale(**{option.removeprefix("--"): value for option, value in zip(options[::2], options[1::2], strict=True)})


@pytest.mark.parametrize(("house", "name"), EVERY_OURS)
def test_what_a_service_of_ours_calls_is_where_another_listens(house: dict[str, Any], name: str) -> None:
    environment = house["services"][name]["environment"]
    for address in environment["ROAMLOG_KAFKA"].split(","):
        found = PORT.match(address)
        assert found is not None
        broker = house["services"][found["host"]]["environment"]
        assert f"://:{found['port']}" in broker["KAFKA_LISTENERS"]
        assert f"://{address}" in broker["KAFKA_ADVERTISED_LISTENERS"]
    # ClickHouse's own default of the HTTP port
    assert environment["ROAMLOG_CLICKHOUSE"] == "http://clickhouse:8123"
    clickhouse = house["services"]["clickhouse"]["environment"]
    assert environment["ROAMLOG_CLICKHOUSE_USER"] == clickhouse["CLICKHOUSE_USER"]
    assert environment["ROAMLOG_CLICKHOUSE_PASSWORD"] == clickhouse["CLICKHOUSE_PASSWORD"]
    assert (
        environment.get("ROAMLOG_CLICKHOUSE_DATABASE", settings.Scale.model_fields["clickhouse_database"].default)
        == (clickhouse["CLICKHOUSE_DB"])
    )


@pytest.mark.parametrize(("name", "path"), [("ingest", "/health"), ("api", "/health"), ("streams", "/ready"), ("pull", "/health")])
def test_a_health_check_asks_what_is_answered_where_it_is_answered(name: str, path: str) -> None:
    service = ONE["services"][name]
    probe = service["healthcheck"]["test"]
    asked = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", probe[-1])
    assert asked is not None
    compile(probe[-1], name, "exec")
    assert probe[:3] == ["CMD", "python", "-c"]
    command = service["command"]
    port = command[command.index("--port") + 1] if "--port" in command else service["environment"]["ROAMLOG_HEALTH_PORT"]
    assert asked.groups() == (port, path)

    async def nobody(_: Request) -> None: ...

    assert path in {getattr(route, "path", "") for route in health.router(never, Metrics().registry, nobody).routes}


async def never() -> Readiness:
    raise AssertionError("routes are listed, none is asked")


def test_the_proxy_leads_to_services_of_ours_and_takes_what_they_take() -> None:
    text = ONE["configs"]["proxy"]["content"]
    assert re.findall(r"(?<!\$)\$(?!\$)", text.replace("$$", "")) == [], "Compose takes a single $ for a variable of its own"
    upstreams = dict(re.findall(r"upstream (\w+) \{ server (\S+);", text))
    for name, address in upstreams.items():
        command = ONE["services"][name]["command"]
        assert address == f"{name}:{command[command.index('--port') + 1]}"
        assert name in ONE["services"]["proxy"]["depends_on"]
    assert set(re.findall(r"map .*\{ GET (\w+); HEAD (\w+); default (\w+); \}", text)[0]) == set(upstreams)
    # The published port, the one that nginx listens on, and the public URL's.
    assert ONE["services"]["proxy"]["ports"] == ["127.0.0.1:8080:8080"]
    assert "listen 8080;" in text
    assert ONE["services"]["api"]["environment"]["ROAMLOG_PUBLIC_URL"].endswith(":-http://127.0.0.1:8080}")
    longest = settings.Settings.model_fields["body_limit_bytes"].metadata[1].le
    assert f"client_max_body_size {longest // 1024**2}m;" in text
    # A push to a Receiver interface and what is asked of it go to the process that knows what was pushed a moment ago, and
    # whoever registers goes to the one that can call it back.
    (ingest,) = re.findall(r"location ~ (\S+) \{ proxy_pass http://ingest; \}", text.replace("$$", "$"))
    for path in ("2.2.1/receiver/sessions/NL/TNM/S1", "2.1.1/either/tokens", "2.2.1/credentials", "2.2.1/credentials/"):
        assert re.match(ingest, f"/ocpi/{path}"), path
    for path in ("2.2.1/sender/sessions", "2.2.1", "versions", "2.2.1/credentialsx"):
        assert not re.match(ingest, f"/ocpi/{path}"), path


def memory_mib(house: dict[str, Any]) -> int:
    """Return what all that runs at a time may take; `prepare` ends before the others begin."""
    limits = [service["mem_limit"] for name, service in house["services"].items() if name != "prepare"]
    return sum(int(limit[:-1]) * (1024 if limit.endswith("g") else 1) for limit in limits)


def test_all_services_fit_into_four_gigabytes_and_three_brokers_into_six() -> None:
    assert memory_mib(ONE) <= 4 * 1024
    assert memory_mib(THREE) <= 6 * 1024


def test_whoever_needs_a_secret_is_told_so() -> None:
    demanded = set(DEMANDED.findall((ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    assert demanded == {"CLICKHOUSE_PASSWORD", "ROAMLOG_PEPPER", "ROAMLOG_OPERATOR_TOKEN"}


def test_three_brokers_vote_keep_every_record_thrice_and_answer_when_two_have_it() -> None:
    brokers = {name: service["environment"] for name, service in THREE["services"].items() if name.startswith("kafka")}
    voters = ",".join(f"{broker['KAFKA_NODE_ID']}@{name}:9093" for name, broker in brokers.items())
    assert len({broker["KAFKA_NODE_ID"] for broker in brokers.values()}) == len(brokers) == 3
    for name, broker in brokers.items():
        assert broker["KAFKA_CONTROLLER_QUORUM_VOTERS"] == voters
        assert "CONTROLLER://:9093" in broker["KAFKA_LISTENERS"]
        assert broker["KAFKA_MIN_INSYNC_REPLICAS"] == "2"
        assert broker["KAFKA_LOG_DIRS"] == THREE["services"][name]["volumes"][0].partition(":")[2]
    assert len({broker["CLUSTER_ID"] for broker in brokers.values()}) == 1
    for name in OURS:
        environment = THREE["services"][name]["environment"]
        assert environment["ROAMLOG_KAFKA_REPLICATION"] == "3"
        assert environment["ROAMLOG_KAFKA"].count(",") == 2
    assert set(brokers) <= set(THREE["services"]["prepare"]["depends_on"])


def test_kafka_neither_creates_topics_by_itself_nor_forgets_records() -> None:
    for name, service in THREE["services"].items():
        if name.startswith("kafka"):
            told = service["environment"]
            assert (told["KAFKA_AUTO_CREATE_TOPICS_ENABLE"], told["KAFKA_LOG_RETENTION_MS"]) == ("false", "-1")


def test_the_image_holds_every_package_and_begins_with_the_command() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert all(f"COPY {package} {package}" in lines for package in PACKAGES)
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
    assert any("--require-hashes -r requirements.lock" in line for line in lines)
    assert 'ENTRYPOINT ["roamlog"]' in lines
    assert "USER roamlog" in lines
    assert f"EXPOSE {settings.Settings.model_fields['port'].default}" in lines
    (command,) = [json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")]
    parameters = typer.main.get_command(app).commands[command[0]].params  # type: ignore[attr-defined]
    assert {option for option in command[1:] if option.startswith("-")} <= {o for one in parameters for o in one.opts}
    said = {name for line in lines for name in re.findall(r"(ROAMLOG_\w+)=", line)}
    assert said <= settings.BESIDE

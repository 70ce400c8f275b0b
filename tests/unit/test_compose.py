"""The containers' files are held against the code that they start, since nothing else notices when one drifts."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from api.cli import app
from store.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if str(service["image"]).startswith("unroll-server"))
SDK_VARIABLES = {"UNROLL_URL", "UNROLL_API_KEY"}
SERVER_VARIABLES = {f"UNROLL_{field.upper()}" for field in Settings.model_fields}


def environment(service: str) -> dict[str, str]:
    """Variables of a service, as text."""
    return {name: str(value) for name, value in SERVICES[service].get("environment", {}).items()}


def interpolated(text: str) -> dict[str, str]:
    """Every ${NAME...} of the compose file with what follows the name: a default, a demand, or nothing."""
    return dict(re.findall(r"(?<!\$)\$\{([A-Za-z_]+)([^}]*)\}", text))


def example() -> dict[str, str]:
    """The variables that .env.example sets."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, rest), continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text())
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def copied() -> set[str]:
    """What the Dockerfile copies out of the project."""
    groups = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    return {source.removeprefix("./") for group in groups for source in group}


def command_of(service: str) -> list[str]:
    """Arguments that the service's process gets after `unroll-server`."""
    default = next(json.loads(rest) for word, rest in instructions() if word == "CMD")
    command = SERVICES[service].get("command", default)
    return shlex.split(command) if isinstance(command, str) else [str(part) for part in command]


def cli() -> Any:
    """The real `unroll-server` command."""
    return get_command(app)


def parse(words: list[str]) -> None:
    """Parse `unroll-server WORDS` as the command line would, without running it; fails as the command line does."""
    command = cli()
    while hasattr(command, "commands"):
        assert words, "a command is missing"
        assert words[0] in command.commands
        command, words = command.commands[words[0]], words[1:]
    command.make_context("unroll-server", words)


@pytest.mark.parametrize("file", ["docker-compose.yml", "Dockerfile", ".env.example"])
def test_every_variable_named_for_the_containers_is_one_that_the_code_reads(file: str) -> None:
    named = set(re.findall(r"\bUNROLL_[A-Z_]+\b", (ROOT / file).read_text()))
    assert named, f"{file} names no variable: this test looks at the wrong file"
    assert named <= SERVER_VARIABLES | SDK_VARIABLES


@pytest.mark.parametrize("service", OURS)
def test_settings_accept_what_a_service_gives_them(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"POSTGRES_PASSWORD": "pg", "REDIS_PASSWORD": "rd", "UNROLL_SECRET": "s"}

    def fill(match: re.Match[str]) -> str:
        return given.get(match[1]) or match[2].removeprefix(":-")

    for name, value in environment(service).items():
        monkeypatch.setenv(name, re.sub(r"\$\{([A-Za-z_]+)([^}]*)\}", fill, value))
    settings = Settings()
    assert settings.database == "postgresql+psycopg://unroll:pg@postgres:5432/unroll"
    assert settings.broker == "redis://:rd@redis:6379/0"
    assert settings.hash_secret == b"s"
    assert not settings.embedded


def test_all_processes_share_one_database_broker_and_secret() -> None:
    shared = ("UNROLL_DATABASE_URL", "UNROLL_BROKER_URL", "UNROLL_SECRET")
    assert len({tuple(environment(service)[name] for name in shared) for service in OURS}) == 1


def test_secrets_have_no_default_and_stand_empty_in_the_example() -> None:
    variables = interpolated((ROOT / "docker-compose.yml").read_text())
    for secret in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "UNROLL_SECRET"):
        assert variables[secret].startswith(":?"), f"{secret} must be demanded, not defaulted"
        assert example()[secret] == ""


def test_the_example_environment_sets_exactly_what_compose_reads() -> None:
    assert set(example()) == set(interpolated((ROOT / "docker-compose.yml").read_text()))


def test_defaults_of_the_example_are_those_of_compose() -> None:
    variables = interpolated((ROOT / "docker-compose.yml").read_text())
    for name, value in example().items():
        if value:
            assert variables[name] == f":-{value}"


@pytest.mark.parametrize("service", OURS)
def test_every_service_runs_a_command_that_the_server_has(service: str) -> None:
    parse(command_of(service))


def test_commands_that_the_files_tell_people_to_run_exist() -> None:
    commands = set(cli().commands)
    told = re.search(r"`docker run unroll-server ([a-z|]+)`", (ROOT / "Dockerfile").read_text())
    assert told is not None
    assert set(told[1].split("|")) <= commands
    run = re.findall(r"docker compose run --rm (\w+) (\S+(?: \S+)*)", (ROOT / "docker-compose.yml").read_text())
    assert run
    for service, command in run:
        assert service in SERVICES
        parse(command.split())


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_what_a_service_waits_for_exists_and_can_get_there(service: str) -> None:
    for other, how in SERVICES[service].get("depends_on", {}).items():
        assert other in SERVICES
        assert "profiles" not in SERVICES[other], f"{other} is not started by default, {service} would not start"
        if how["condition"] == "service_healthy":
            assert "test" in SERVICES[other]["healthcheck"]
        else:
            assert how["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] != "unless-stopped", f"{other} would never be completed"


def test_nothing_of_ours_starts_before_the_migrations_ended() -> None:
    for service in set(OURS) - {"migrate"}:
        assert SERVICES[service]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_named_volumes_are_declared() -> None:
    used = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith((".", "/"))
    }
    assert used == set(COMPOSE["volumes"])


def test_redis_asks_for_the_password_that_the_broker_address_gives() -> None:
    redis = SERVICES["redis"]
    command = redis["command"]
    password = command[command.index("--requirepass") + 1]
    assert password == redis["environment"]["REDISCLI_AUTH"]
    assert f":{password}@redis:" in environment("worker")["UNROLL_BROKER_URL"]
    assert command[command.index("--appendonly") + 1] == "yes"


def test_a_worker_is_given_longer_to_stop_than_it_takes_to_drain() -> None:
    for service in ("worker", "worker-gpu"):
        grace = SERVICES[service]["stop_grace_period"]
        assert float(grace.removesuffix("s")) > 1.5 * Settings.model_fields["drain_seconds"].default


def test_the_api_is_published_on_this_machine_only_and_at_the_port_it_listens_on() -> None:
    assert SERVICES["api"]["ports"] == [f"127.0.0.1:${{UNROLL_PORT:-8000}}:{environment('api')['UNROLL_PORT']}"]
    assert environment("api")["UNROLL_HOST"] == "0.0.0.0"


def test_only_the_api_and_the_database_and_the_broker_are_asked_for_their_health() -> None:
    silent = {name for name, service in SERVICES.items() if service.get("healthcheck", {}).get("disable")}
    assert silent == set(OURS) - {"api"}


def test_the_dockerfile_copies_files_that_exist_and_all_packages_of_the_server() -> None:
    assert [source for source in sorted(copied()) if not (ROOT / source).exists()] == []
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"], "sdk", "constraints.txt"} <= copied()


def test_the_build_context_holds_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert copied() == kept


def test_the_image_does_not_run_as_root() -> None:
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    words = [word for word, _ in instructions()]
    assert words.index("USER") < words.index("ENTRYPOINT")


def test_the_image_starts_the_console_script_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entry = next(json.loads(rest) for word, rest in instructions() if word == "ENTRYPOINT")
    assert entry[0] in project["scripts"]


def test_the_image_has_one_python_that_the_project_supports() -> None:
    bases = {rest.split()[0] for word, rest in instructions() if word == "FROM"}
    assert len(bases) == 1
    version = re.search(r"python:(\d+)\.(\d+)", bases.pop())
    assert version is not None
    floor = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert (int(version[1]), int(version[2])) >= tuple(map(int, floor.split(".")))


def test_the_health_check_asks_a_path_that_the_api_serves_without_a_key(tmp_path: Path) -> None:
    from api.app import create_app

    check = next(rest for word, rest in instructions() if word == "HEALTHCHECK")
    path = re.search(r"\{os\.environ\['UNROLL_PORT'\]\}(/\w+)", check)
    assert path is not None
    settings = Settings(data_dir=tmp_path)
    operation = create_app(settings).openapi()["paths"][path[1]]["get"]
    assert not operation.get("security")

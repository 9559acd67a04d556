"""Dockerfiles, compose file and systemd units: what can be seen without a daemon. `make image-test` runs an image."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from consumers import __version__
from consumers.settings import Settings, load_settings

REPOSITORY = Path(__file__).resolve().parents[1]
DOCKER = REPOSITORY / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile*"))
COMPOSE: Mapping[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = ["agent", "worker"]
#: Of a service in the Compose Specification, as far as they are used here.
SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "init", "logging", "mem_limit",
    "read_only", "restart", "secrets", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Instructions and their arguments, in order."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def images() -> list[str]:
    """Every image that a file names."""
    named = [service["image"] for service in SERVICES.values()]
    for dockerfile in DOCKERFILES:
        named += [rest.split("=", 1)[1] for word, rest in instructions(dockerfile) if re.match(r"(BASE|EDGE)=", rest)]
    return named


def parsed(words: list[str]) -> None:
    """Fail unless the command line is one of Clipline's."""
    from consumers.cli.main import app

    group = typer.main.get_command(app)
    with group.make_context("clipline", list(words), resilient_parsing=True) as context:
        name, command, rest = group.resolve_command(context, list(words))
        command.make_context(name, rest, parent=context).close()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_ends_as_a_user_by_number_and_installs_what_is_pinned(dockerfile: Path) -> None:
    words = instructions(dockerfile)
    assert [rest for word, rest in words if word == "USER"][-1] == "10001:10001"
    [install] = [rest for word, rest in words if word == "RUN"]
    assert "-c /src/constraints.txt" in install
    assert "target=/root/.cache/pip" in install  # stays outside the image
    assert "rm -rf /tmp/pip" in install
    assert not {"ADD", "MAINTAINER"} & {word for word, _ in words}


def test_the_edge_image_is_probed_and_is_the_command() -> None:
    words = dict(instructions(DOCKER / "Dockerfile.edge"))
    assert words["ENTRYPOINT"] == '["clipline"]'
    assert words["HEALTHCHECK"].endswith('CMD ["livez"]')
    assert "/livez" in (DOCKER / "livez.py").read_text()
    assert (DOCKER / "livez.py").stat().st_mode & 0o111


def test_variables_that_an_image_sets_are_settings() -> None:
    text = dict(instructions(DOCKER / "Dockerfile.edge"))["ENV"]
    settings = load_settings(None, clipline_of(dict(entry.split("=", 1) for entry in shlex.split(text))))
    assert (settings.metrics.port, settings.metrics.host) == (9400, "0.0.0.0")
    assert settings.spool.folder == Path("/var/lib/clipline/spool")


@pytest.mark.parametrize("image", images())
def test_images_are_pinned_to_a_full_version(image: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*", image)


def test_nothing_is_let_into_a_build_but_what_is_named() -> None:
    first, *rest = [
        line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert first == "*"
    allowed = {line.removeprefix("!") for line in rest if line.startswith("!")}
    assert allowed == {
        "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "stream", "models", "consumers", "docker/livez.py",
    }  # fmt: skip


def test_compose_file_keeps_to_the_specification() -> None:
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"name", "services", "volumes", "secrets"}
    for name, service in SERVICES.items():
        assert not set(service) - SERVICE_KEYS, name
        assert set(service["healthcheck"]) <= {"test", "interval", "timeout", "start_period", "retries"}
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
        assert service["restart"] == "unless-stopped", name
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        assert all(isinstance(value, str) for value in service.get("environment", {}).values()), name
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            assert target.startswith("/")
            assert source in COMPOSE["volumes"] or (DOCKER / source).exists(), volume
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert used >= set(COMPOSE["volumes"])


def clipline_of(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith("CLIPLINE_")}


def settings_in(service: str, tmp_path: Path) -> Settings:
    """What the command of a service reads: variables of the image and its own, files as they are mounted."""
    words = shlex.split(dict(instructions(DOCKER / "Dockerfile.edge"))["ENV"])
    variables = dict(entry.split("=", 1) for entry in words) | SERVICES[service]["environment"]
    mounted = {target: source for source, target, *_ in (v.split(":") for v in SERVICES[service]["volumes"])}
    assert mounted[variables["CLIPLINE_SETTINGS"]] == "./clipline.toml"
    for name in SERVICES[service]["secrets"]:
        (tmp_path / name).write_text("rtsp://10.0.0.7/gate" if name.endswith("url") else "geheim")
    text = (DOCKER / "clipline.toml").read_text().replace("/run/secrets", str(tmp_path))
    (tmp_path / "clipline.toml").write_text(text)
    found = {name: value.replace("/run/secrets", str(tmp_path)) for name, value in clipline_of(variables).items()}
    return load_settings(None, found | {"CLIPLINE_SETTINGS": str(tmp_path / "clipline.toml")})


@pytest.mark.parametrize("service", OURS)
def test_variables_and_secrets_of_the_compose_file_are_settings(service: str, tmp_path: Path) -> None:
    settings = settings_in(service, tmp_path)
    assert settings.kafka == "kafka:9092"
    assert "geheim" in settings.redis
    assert settings.redis.endswith("@valkey:6379/0")
    assert settings.metrics.port == 9400
    assert "geheim" not in (DOCKER / "compose.yaml").read_text()


def test_the_agent_reads_all_cameras_and_keeps_its_spool(tmp_path: Path) -> None:
    settings = settings_in("agent", tmp_path)
    assert settings.run.workers == 0
    assert settings.run.services == "own"
    assert settings.cameras["gate"].address({}) == "rtsp://10.0.0.7/gate"
    [home] = [volume.split(":")[1] for volume in SERVICES["agent"]["volumes"] if volume.startswith("agent:")]
    assert settings.spool.folder.is_relative_to(home)
    assert settings.run.log_folder.is_relative_to(home)


@pytest.mark.parametrize("service", OURS)
def test_our_services_run_commands_of_the_image_that_is_built(service: str) -> None:
    parsed(SERVICES[service]["command"])
    assert SERVICES[service]["image"] == f"clipline-edge:{__version__}"
    assert f"ARG EDGE=clipline-edge:{__version__}\n" in (DOCKER / "Dockerfile").read_text()
    assert (DOCKER / SERVICES[service]["build"]["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / SERVICES[service]["build"]["dockerfile"]).is_file()
    assert SERVICES[service]["read_only"]
    assert SERVICES[service]["cap_drop"] == ["ALL"]


def test_the_broker_is_the_one_that_is_tested_and_set_as_it_is() -> None:
    pom = ET.parse(DOCKER / "kafka-pom.xml").getroot()
    version = pom.findtext("{*}properties/{*}kafka.version")
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"
    from stream.services.kafka import _properties

    tested = dict(line.split("=", 1) for line in _properties(9092, 9093).splitlines())
    ours = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in SERVICES["kafka"]["environment"].items()
    }
    # Names that Kafka does not know have no effect, and nobody is told.
    assert set(ours) - set(tested) == {"heap.opts", "inter.broker.listener.name", "advertised.listeners"}
    for name in ("message.max.bytes", "replica.fetch.max.bytes", "auto.create.topics.enable", "process.roles"):
        assert ours[name] == tested[name]


@pytest.mark.parametrize("unit", sorted((DOCKER / "systemd").glob("*.service")), ids=lambda path: path.name)
def test_systemd_units_run_commands_that_there_are(unit: Path) -> None:
    lines = [line.split("=", 1)[1] for line in unit.read_text().splitlines() if line.startswith("ExecStart")]
    assert lines
    for line in lines:
        program, *words = shlex.split(line)
        assert Path(program).name == "clipline"
        parsed(words)

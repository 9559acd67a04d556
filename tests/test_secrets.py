"""A password is in no output, file or message, wherever an operator writes an address."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from consumers.cli.main import app
from consumers.outputs.redis.connection import connect_redis
from consumers.running.child import child_command
from consumers.settings import Settings, SettingsError, load_settings, section_of
from tests.command_line import clipline

CANARY = "cAn4ry7Qx2"
ADDRESSES = [
    f"rtsp://admin:{CANARY}@127.0.0.1:1/live",
    f"rtsp://admin:x/{CANARY}@127.0.0.1:1/live",
    f"rtsps://127.0.0.1:1/{CANARY}",
    f"rtsp://127.0.0.1:1/live?user=admin&password={CANARY}",
    f"redis://:{CANARY}@127.0.0.1:1/0",
    f"redis://127.0.0.1:1/0?password={CANARY}",
    f"admin:{CANARY}@127.0.0.1:1",
    f"kafka://admin:{CANARY}@broker?camera=gate",
    f"http://admin:{CANARY}@127.0.0.1:1/",
    f"rtsp://admin:x#y {CANARY}@127.0.0.1:1/live",
]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
#: What a command needs before it looks at anything else.
NEEDED = {"evaluate": ["x3d-xs", "no.csv"], "compare": ["x3d-xs", "cnn-lstm", "no.csv"], "export": ["x3d-xs"]}


def keys(section: Any = Settings, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that can be set, and one of each table of many."""
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is None:
            yield (*path, name)
        else:
            yield from keys(inner, (*path, name) if inner is field.annotation else (*path, name, "own"))


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stream.broker.kafka.connection.CONNECT_TIMEOUT_MS", 50)
    return tmp_path


def assert_hidden(*texts: object) -> None:
    for text in texts:
        assert CANARY not in str(text), str(text)


@pytest.mark.parametrize("key", keys(), ids=".".join)
def test_no_setting_is_told_with_the_password_in_it(key, tmp_path):
    for address in ADDRESSES:
        _assert_setting_hidden(key, address, tmp_path)


def test_no_error_quotes_what_may_be_a_password_alone():
    for name in ("REDIS", "CAMERAS", "CAMERAS__OWN", "CAMERAS__OWN__LOOP", "KAFKA__X", "REDIS__PASSWORD"):
        with pytest.raises(SettingsError) as caught:
            load_settings(environment={f"CLIPLINE_{name}": CANARY})
        assert_hidden(caught.value)


def _assert_setting_hidden(key: tuple[str, ...], address: str, tmp_path: Path) -> None:
    variables = {f"CLIPLINE_{'__'.join(key).upper()}": address}
    toml = "".join(f"[{'.'.join(key[:n])}]\n" for n in range(1, len(key))) + f"{key[-1]} = {json.dumps(address)}\n"
    (tmp_path / "a.toml").write_text(toml)
    for file, environment in ((tmp_path / "a.toml", {}), (None, variables)):
        try:
            settings = load_settings(file, environment)
            told: list[object] = [settings, repr(settings)]
            if key[0] in {"kafka", "redis", "cameras"} or key[-1] in {"password", "key_password", "token"}:
                told.append(settings.model_dump_json(exclude={"cameras": {"own": {"url_file"}}}))
            if settings.cameras:
                settings.cameras["own"].address()
        except SettingsError as error:
            told = [error, repr(error), *error.problems]
        assert_hidden(*told)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "text",
    [
        "cameras = {value}",
        "cameras.own = {value}",
        "cameras.own.ulr = {value}",
        "[cameras.{value}]\nurl = 'x'",
        "[cameras.own]\nurl = {value}\nurl_file = {value}",
        "[cameras.own]\nurl = {value}\nloop = true\nwrong = 1",
        "[tracker.labels.{value}]\nstart = 7",
        "{value} = 1",
        "redis_password = {value}",
        "redis = {value} x",
    ],
)
def test_no_shape_of_a_file_is_told_with_the_password_in_it(text, address, tmp_path):
    (tmp_path / "a.toml").write_text(text.format(value=json.dumps(address)))
    try:
        assert_hidden(repr(load_settings(tmp_path / "a.toml", {})))
    except SettingsError as error:
        assert_hidden(error, *error.problems)


def calls() -> Iterator[list[str]]:
    """Every argument and option of every command that takes text, with an address in its place."""
    for name, command in COMMANDS.items():
        for param in command.params:
            if getattr(param, "is_flag", False) or param.name in {"watch", "help"} or "--output" in param.opts:
                continue
            given = ["{address}"] if param.param_type_name == "argument" else [param.opts[0], "{address}"]
            needed = NEEDED.get(name, []) if param.param_type_name == "option" else []
            # These wait for a broker, by default for as long as it takes.
            waits = any("--exit-after" in each.opts for each in command.params) and param.opts[0] != "--exit-after"
            yield [name, *needed, *given, *(["--exit-after", "0.2"] if waits else [])]


@pytest.mark.slow
#: Both would start servers where nothing is wrong.
@pytest.mark.parametrize("call", [c for c in calls() if c[0] not in {"up", "init"}], ids=" ".join)
def test_no_command_tells_an_address_with_its_password(call, monkeypatch, tmp_path, redis_url):
    monkeypatch.setattr("consumers.outputs.redis.connection.CONNECT_TIMEOUT_SECONDS", 0.1)
    if call[0] == "demo" and len(call) > 2:
        call = [call[0], "no.mp4", *call[1:]]
    for address in ADDRESSES[:1] if call[0] in {"train", "export", "replay", "tune", "evaluate"} else ADDRESSES[:4]:
        said = clipline(
            *(part.format(address=address) for part in call),
            CLIPLINE_KAFKA="127.0.0.1:1",
            CLIPLINE_REDIS=redis_url,
            CLIPLINE_RUN__SERVICES="own",
        )
        assert said.returncode != 70, said.stderr
        assert_hidden(said.stdout, said.stderr)
    for file in tmp_path.rglob("*"):
        assert_hidden(file.read_text(errors="replace") if file.is_file() else "")


def test_a_settings_file_is_written_without_the_password(tmp_path):
    for number, address in enumerate(ADDRESSES[:4]):
        said = clipline("init", "--camera", f"own={address}", "-o", f"{number}.toml", "--secrets", f"{number}.env")
        assert said.returncode == 0, said.stderr
        assert_hidden(said.stdout, said.stderr, Path(f"{number}.toml").read_text())
        assert CANARY in Path(f"{number}.env").read_text()


@pytest.mark.parametrize("key", ["WORKER__MODEL", "RUN__LOG_FOLDER", "RUN__DATA", "CAMERAS__OWN__URL", "KAFKA"])
def test_check_tells_no_password_as_text_or_json(key, monkeypatch, redis_url):
    for name in ("check_machine", "check_services"):
        monkeypatch.setattr(f"consumers.setup.checks.{name}", lambda _: iter(()))
    for options in ([], ["--json"]):
        said = clipline("check", *options, **{f"CLIPLINE_{key}": ADDRESSES[0], "CLIPLINE_REDIS": redis_url})
        assert said.returncode in {0, 1}, said.stderr
        assert_hidden(said.stdout, said.stderr)


def test_what_nobody_foresaw_is_told_without_the_password(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(f"{ADDRESSES[0]} and {ADDRESSES[2]!r}")

    monkeypatch.setattr("consumers.settings.load_settings", fail)
    said = clipline("attach", ADDRESSES[2], "--camera", "own")
    assert said.returncode == 70
    assert "ZeroDivisionError" in said.stderr
    assert_hidden(said.stderr)


def test_the_processes_of_a_run_are_given_no_address_on_their_command_lines():
    assert [part for part in child_command("agent", "agent") if "://" in part or ":9092" in part] == []


@pytest.mark.parametrize("password", ["p/w#x?y@z", "grün 100%", "a:b"])
def test_redis_takes_a_password_as_it_is_typed(password, redis_url):
    with connect_redis(redis_url) as admin:
        admin.execute_command("ACL", "SETUSER", "typed", "reset", "on", f">{password}", "~*", "+@all")
    with connect_redis(redis_url.replace("redis://", f"redis://typed:{password}@")) as client:
        assert client.execute_command("ACL", "WHOAMI") in {b"typed", "typed"}


def test_a_password_of_redis_may_be_a_variable(tmp_path):
    (tmp_path / "clipline.toml").write_text('redis = "redis://:${PW}@cache:6379/0"')
    assert load_settings(environment={"PW": "p/w@x"}).redis == "redis://:p%2Fw%40x@cache:6379/0"
    with pytest.raises(SettingsError, match=r"redis: not set in the environment: PW"):
        load_settings(environment={})


def test_an_address_in_a_file_may_hold_a_space(tmp_path):
    (tmp_path / "dock").write_bytes(b"\xef\xbb\xbfrtsp://u:p w@h/x\r\n\r\n")
    camera = load_settings(environment={"CLIPLINE_CAMERAS__DOCK__URL_FILE": str(tmp_path / "dock")}).cameras["dock"]
    assert camera.address() == "rtsp://u:p w@h/x"


KUBERNETES = {
    "CLIPLINE_PORT": "tcp://10.0.0.1:80",
    "CLIPLINE_SERVICE_HOST": "10.0.0.1",
    "CLIPLINE_SERVICE_PORT": "80",
    "CLIPLINE_SERVICE_PORT_HTTP": "80",
    "CLIPLINE_PORT_80_TCP": "tcp://10.0.0.1:80",
    "CLIPLINE_PORT_80_TCP_PROTO": "tcp",
    "CLIPLINE_PORT_80_TCP_PORT": "80",
    "CLIPLINE_PORT_80_TCP_ADDR": "10.0.0.1",
    "CLIPLINE_KAFKA_PORT": "tcp://10.0.0.2:9092",
    "CLIPLINE_KAFKA_PORT_9092_TCP": "tcp://10.0.0.2:9092",
    "CLIPLINE_REDIS_SERVICE_HOST": "fd00::2",
    "CLIPLINE_REDIS_SERVICE_PORT": "6379",
    "CLIPLINE_WORKER_METRICS_SERVICE_PORT_PROM_METRICS": "9100",
    "CLIPLINE_DNS_PORT_53_UDP": "udp://[fd00::2]:53",
    "CLIPLINE_DNS_PORT_53_UDP_ADDR": "fd00::2",
}


def test_variables_of_kubernetes_for_its_services_are_no_settings(caplog):
    with caplog.at_level(logging.DEBUG, "consumers.settings"):
        assert load_settings(environment=KUBERNETES) == Settings()
    assert all(name in caplog.text for name in KUBERNETES)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("CLIPLINE_KAFAK", "x:1", "did you mean 'kafka'"),
        ("CLIPLINE_PORT", "80", "unknown setting 'port'"),
        ("CLIPLINE_RUN_SERVICES", "own", "CLIPLINE_RUN__SERVICES"),
        ("CLIPLINE_WORKER_MODEL", "x3d-xs", "CLIPLINE_WORKER__MODEL"),
        ("CLIPLINE_KAFKA_PORT", "9092", "unknown setting 'kafka_port'"),
    ],
)
def test_a_misspelt_variable_is_an_error_all_the_same(name, value, hint):
    with pytest.raises(SettingsError) as caught:
        load_settings(environment={**KUBERNETES, name: value})
    assert hint in str(caught.value)

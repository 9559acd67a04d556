"""What the settings say of how Kafka and Redis are entered, and that it is told to nobody."""

from __future__ import annotations

import logging
import pickle
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.settings import Settings, SettingsError, load_settings, override
from consumers.setup.services import is_own_broker, is_own_redis
from stream import BrokerError, EntryError, KafkaAddress, KafkaSecurity, KafkaTransport, Secret, ServiceError
from stream.broker.kafka.address import token_of_command
from tests.waiting import eventually

CANARY = "cAn4ry7Qx2"
USER = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "user": "worker", "password": CANARY}


def load(**keys: str) -> Settings:
    return load_settings(
        environment={f"CLIPLINE_KAFKA_SECURITY__{name.upper()}": value for name, value in keys.items()}
    )


def test_file_and_environment_may_each_give_a_part(tmp_path):
    file = tmp_path / "clipline.toml"
    file.write_text('[kafka_security]\nprotocol = "sasl_ssl"\nmechanism = "scram-sha-512"\nuser = "worker"\n')
    (tmp_path / "pw").write_text(f"\ufeff{CANARY}\r\n", "utf-8")
    variables = {"CLIPLINE_KAFKA_SECURITY__PASSWORD_FILE": str(tmp_path / "pw")}
    found = load_settings(file, variables).broker.security
    assert found == KafkaSecurity("SASL_SSL", mechanism="SCRAM-SHA-512", user="worker", password=Secret(CANARY))
    with pytest.raises(SettingsError, match="SCRAM-SHA-512 needs user and password, or password_file"):
        load_settings(file, {})


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"protocol": "TLS"}, "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ({"protocol": "SASL_SSL"}, "SASL_SSL needs mechanism: SCRAM-SHA-256"),
        ({"ca_file": "ca.pem"}, "PLAINTEXT uses no ca_file: set protocol to SSL or SASL_SSL"),
        ({"user": "x", "password": CANARY}, "PLAINTEXT uses no password: set protocol to SASL_SSL or SASL_PLAINTEXT"),
        ({**USER, "password_file": "x"}, "expected one of password and password_file"),
        ({**USER, "token": CANARY}, "SCRAM-SHA-512 uses no token"),
        ({**USER, "mechanism": "OAUTHBEARER"}, "OAUTHBEARER uses no password"),
        ({"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER"}, "needs token, token_file or token_command"),
        ({"protocol": "SSL", "key_file": "k"}, "a key needs certificate_file"),
        ({**USER, "password": ""}, "kafka_security.password: expected a secret, found nothing"),
        (
            {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "user": "x", "password_file": "/no"},
            "/no cannot be read",
        ),
        ({"passwort": CANARY}, "did you mean 'password'"),
    ],
)
def test_what_does_not_belong_together_is_told_without_its_value(keys, said):
    with pytest.raises(SettingsError) as caught:
        load(**keys)
    assert said in str(caught.value)
    assert all(CANARY not in problem for problem in caught.value.problems)


def test_nothing_that_is_written_of_a_secret_holds_it():
    settings = load(**USER)
    security = settings.broker.security
    options = security.options()
    assert options["sasl_plain_password"] == CANARY
    for told in (settings, settings.broker, security, options, settings.model_dump(), settings.model_dump_json()):
        assert CANARY not in str(told)
        assert CANARY not in repr(told)
    assert CANARY not in repr(Secret(CANARY))
    with pytest.raises(TypeError):
        pickle.dumps(Secret(CANARY))


def test_what_the_command_line_changes_keeps_the_secrets():
    settings = override(load(**USER), {"kafka": "other:9093"}, "command line")
    assert settings.broker == KafkaAddress("other:9093", load(**USER).broker.security)


def test_a_server_that_has_to_be_entered_is_never_replaced_by_one_that_asks_for_nothing(monkeypatch):
    monkeypatch.setattr("consumers.setup.services.kafka_answers", lambda _: False)
    monkeypatch.setattr("consumers.setup.services.redis_answers", lambda _: False)
    settings = load(**USER)
    assert is_own_broker(settings, "auto")
    assert not is_own_broker(Settings(), "auto")
    assert not is_own_redis(settings, "auto")
    assert is_own_redis(load_settings(environment={"CLIPLINE_REDIS_SECURITY__PASSWORD": "x"}), "auto")
    with pytest.raises(
        ServiceError, match=r"\[kafka_security\] is for a server of your own, and run.services = embedded"
    ):
        is_own_broker(settings, "embedded")


def test_a_token_command_tells_nothing_of_what_it_printed():
    assert token_of_command(f"echo {CANARY}")().reveal() == CANARY
    for command in (f"echo {CANARY} {CANARY}", f"sh -c 'echo {CANARY}; exit 3'", "/no/such/command", "'"):
        with pytest.raises(EntryError, match=r"kafka_security\.token_command") as caught:
            token_of_command(command)()
        assert CANARY not in str(caught.value)


def test_no_command_has_an_option_for_a_secret():
    import typer

    from consumers.cli.main import app

    commands = typer.main.get_command(app).commands
    options = {option for command in commands.values() for param in command.params for option in param.opts}
    assert not [option for option in options if re.search(r"password|token|secret$|key-file", option)]


def test_no_part_of_clipline_reaches_the_broker_by_its_address_alone():
    root = Path(__file__).resolve().parents[1]
    for file in (root / "consumers").rglob("*.py"):
        found = re.search(r"(?:KafkaTransport|watch_kafka|kafka_answers)\(\s*\w*\.?settings\.kafka\b", file.read_text())
        assert found is None, f"{file.name}: {found and found[0]}: use settings.broker"


@pytest.fixture
def closing() -> Iterator[str]:
    """Listens, and closes every connection at once, as a proxy does whose broker is away."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_trying_again_and_again_leaves_nothing_open_and_the_vendor_logs_no_password(closing, monkeypatch, caplog):
    monkeypatch.setattr("stream.broker.kafka.connection.CONNECT_TIMEOUT_MS", 150)
    security = replace(load(**USER).broker.security, protocol="SASL_PLAINTEXT")
    with caplog.at_level(logging.DEBUG):
        for number in range(3):
            with pytest.raises(BrokerError) as caught:
                KafkaTransport(KafkaAddress(closing, security))
            assert "set kafka_security.protocol" not in str(caught.value)
            if number == 0:
                before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    # What two tries leave open is two at least; what other tests began may come or go meanwhile.
    assert eventually(lambda: threading.active_count() < before[0] + 2)
    assert eventually(lambda: len(list(Path("/proc/self/fd").iterdir())) < before[1] + 2)
    assert CANARY not in caplog.text

"""Who may come in to Kafka, on a broker that asks: TLS, certificates, users, tokens, ACLs."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.settings import load_settings
from stream import BrokerError, KafkaAddress, KafkaSecurity, KafkaTransport, Secret, Topic, token_of_command

trustme = pytest.importorskip("trustme")
from tests.secured_servers import PASSWORD, Certificates, SecuredKafka  # noqa: E402

pytestmark = pytest.mark.slow  # the broker alone takes some seconds
#: One for all tests of the module.
FOREVER, LONG_AGO = time.time() + 3600, time.time() - 3600


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def kafka(certificates: Certificates) -> Iterator[SecuredKafka]:
    if (reason := SecuredKafka.missing()) is not None:
        pytest.skip(reason)
    with SecuredKafka(certificates) as running:
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    monkeypatch.setattr("stream.broker.kafka.connection.CONNECT_TIMEOUT_MS", 2000)


@pytest.fixture
def sasl(certificates: Certificates) -> KafkaSecurity:
    return KafkaSecurity(
        "SASL_SSL",
        ca_file=certificates.ca_file,
        mechanism="SCRAM-SHA-512",
        user="worker",
        password=Secret(PASSWORD),
    )


def token(expires: float) -> Secret:
    """One that says who we are, signed by nobody: this broker takes such."""

    def part(value: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return Secret(
        f"{part({'alg': 'none'})}.{part({'sub': 'worker', 'iat': int(expires) - 7200, 'exp': int(expires)})}."
    )


def refusal(servers: str, security: KafkaSecurity) -> str:
    with pytest.raises(BrokerError) as caught:
        KafkaTransport(KafkaAddress(servers, security))
    line = str(caught.value)
    assert "\n" not in line
    assert PASSWORD not in line
    return line


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
@pytest.mark.parametrize(
    ("mechanism", "user"),
    [("SCRAM-SHA-512", "worker"), ("SCRAM-SHA-256", "agent"), ("PLAIN", "worker"), ("OAUTHBEARER", None)],
)
def test_a_user_comes_in_with_the_right_password_only(kafka, sasl, protocol, mechanism, user):
    ca_file = sasl.ca_file if protocol == "SASL_SSL" else None
    right = replace(sasl, protocol=protocol, mechanism=mechanism, user=user, ca_file=ca_file)
    if user is None:
        right, wrong = (replace(right, password=None, token=lambda t=t: token(t)) for t in (FOREVER, LONG_AGO))
        said = "does not accept the token (OAUTHBEARER): see kafka_security.token, token_file or token_command"
    else:
        wrong = replace(right, password=Secret(f"{PASSWORD}x"))
        said = f"does not accept user {user} with this password ({mechanism}): check kafka_security.user and password"
    assert KafkaTransport(KafkaAddress(kafka.at(protocol), right)).is_transactional
    assert said in refusal(kafka.at(protocol), wrong)


def test_a_broker_that_knows_who_holds_a_certificate_lets_its_owner_in(kafka, certificates, sasl):
    nobody = KafkaSecurity("SSL", ca_file=certificates.ca_file)

    def with_(name: str, **options: object) -> KafkaSecurity:
        certificate, key = certificates.issued(name, **options)
        return replace(nobody, certificate_file=certificate, key_file=key)

    at = kafka.at("SSL")
    good = with_("agent")
    KafkaTransport(KafkaAddress(at, good))
    assert "set kafka_security.certificate_file and key_file" in refusal(at, nobody)
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    for bad in (with_("expired", ends=yesterday), with_("strange", stranger=True)):
        line = refusal(at, bad)
        assert "does not accept our certificate" in line
        assert str(bad.certificate_file) in line
    absent = replace(good, key_file=Path("/absent"))
    assert refusal(at, absent) == "kafka_security.key_file: /absent cannot be read (No such file or directory)"
    assert "expected a certificate as PEM and its key" in refusal(at, replace(good, key_file=bad.key_file))


def test_a_broker_that_nobody_vouches_for_is_not_trusted(kafka, certificates, sasl):
    at = kafka.at("SASL_SSL")
    for ca_file in (certificates.stranger_file, None):
        line = refusal(at, replace(sasl, ca_file=ca_file))
        assert "certificate that nobody signed whom we trust" in line
        assert "set kafka_security.ca_file" in line
    line = refusal(at.replace("localhost", "127.0.0.1"), sasl)
    assert "for other hosts than 127.0.0.1: set kafka to a host that the certificate names" in line
    assert "/absent cannot be read" in refusal(at, replace(sasl, ca_file=Path("/absent")))


@pytest.mark.parametrize(
    ("listener", "protocol", "said"),
    [
        ("SASL_SSL", "PLAINTEXT", "speaks TLS: set kafka_security.protocol to SSL or SASL_SSL"),
        ("SASL_SSL", "SASL_PLAINTEXT", "speaks TLS: set kafka_security.protocol to SASL_SSL"),
        ("SASL_SSL", "SSL", "wants to know a user: set kafka_security.protocol to SASL_SSL"),
        ("SASL_PLAINTEXT", "PLAINTEXT", "wants to know a user: set kafka_security.protocol to SASL_PLAINTEXT"),
        ("SASL_PLAINTEXT", "SASL_SSL", "speaks no TLS"),
        ("PLAINTEXT", "SASL_PLAINTEXT", "asks for no user there: set kafka_security.protocol to PLAINTEXT"),
    ],
)
def test_a_wrong_protocol_is_told_with_the_right_one(kafka, sasl, listener, protocol, said):
    at = kafka.address if listener == "PLAINTEXT" else kafka.at(listener)
    given = replace(sasl, protocol=protocol, ca_file=sasl.ca_file if protocol.endswith("SSL") else None)
    assert said in refusal(at, given)


def test_a_mechanism_that_the_broker_does_not_know_is_told_with_those_that_it_knows(kafka, sasl):
    line = refusal(kafka.at("SASL_SSL"), replace(sasl, mechanism="SCRAM-SHA-256"))
    assert "does not accept user worker" in line  # the broker knows no such password of it


def test_a_token_comes_from_a_file_that_is_renewed_or_from_a_command(kafka, certificates, tmp_path):
    file = tmp_path / "token"
    file.write_text(token(LONG_AGO).reveal())
    environment = {
        "CLIPLINE_KAFKA": kafka.at("SASL_SSL"),
        "CLIPLINE_KAFKA_SECURITY__PROTOCOL": "sasl_ssl",
        "CLIPLINE_KAFKA_SECURITY__MECHANISM": "oauthbearer",
        "CLIPLINE_KAFKA_SECURITY__CA_FILE": str(certificates.ca_file),
    }
    read = load_settings(environment=environment | {"CLIPLINE_KAFKA_SECURITY__TOKEN_FILE": str(file)}).broker
    with pytest.raises(BrokerError, match="does not accept the token"):
        KafkaTransport(read)
    file.write_text(token(FOREVER).reveal() + "\n")
    KafkaTransport(read)
    KafkaTransport(
        load_settings(environment=environment | {"CLIPLINE_KAFKA_SECURITY__TOKEN_COMMAND": f"cat {file}"}).broker
    )
    with pytest.raises(BrokerError, match=r"^kafka_security.token_command: expected one word, the token"):
        KafkaTransport(replace(read, security=replace(read.security, token=token_of_command("false"))))


def test_what_a_user_may_not_do_is_told_with_its_name_and_the_topic_or_group(kafka, sasl):
    owner = KafkaTransport(kafka.address)
    owner.ensure_topics([Topic("closed.topic", 1)])
    nobody = KafkaTransport(KafkaAddress(kafka.at("SASL_SSL"), replace(sasl, user="nobody")))
    role = "add the ACLs of its role (docs/security.md)"

    def refused(action: object) -> str:
        with pytest.raises(BrokerError) as caught:
            action()  # type: ignore[operator]
        line = str(caught.value)
        assert "\n" not in line
        assert "user nobody" in line
        assert role in line
        return line

    assert "closed.topic" in refused(lambda: nobody.ensure_topics([Topic("closed.topic", 1)]))

    def send() -> None:
        producer = nobody.producer()
        try:
            producer.send("closed.topic", b"k", [], b"v")
            producer.flush()
        finally:
            producer.close()

    refused(send)
    refused(lambda: nobody.publisher("closed-name"))
    for topic, group in (("closed.topic", "closed.group"),):
        consumer = nobody.consumer([topic], group)

        def read(consumer=consumer) -> None:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                consumer.poll(0.5)

        refused(read)
        consumer.close()


def test_a_certificate_that_is_renewed_is_used_by_the_next_connection(kafka, certificates):
    certificate, key = certificates.issued("renewed", ends=dt.datetime.now(dt.UTC) - dt.timedelta(days=1))
    address = KafkaAddress(
        kafka.at("SSL"),
        KafkaSecurity("SSL", ca_file=certificates.ca_file, certificate_file=certificate, key_file=key),
    )
    with pytest.raises(BrokerError, match="does not accept our certificate"):
        KafkaTransport(address)
    certificates.issued("renewed")
    KafkaTransport(address)


@pytest.mark.parametrize("hosts_and_end", [(("localhost",), -1)])
def test_a_broker_whose_certificate_has_expired_is_told(certificates, sasl, hosts_and_end):
    hosts, days = hosts_and_end
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    with SecuredKafka(certificates, hosts, ends=ends) as kafka:
        assert "certificate that has expired: renew it at the broker" in refusal(kafka.at("SASL_SSL"), sasl)


def test_no_process_of_ours_has_the_password_on_its_command_line():
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        if int(file.parent.name) != os.getpid():
            continue
        assert not re.search(PASSWORD, file.read_bytes().decode(errors="replace"))

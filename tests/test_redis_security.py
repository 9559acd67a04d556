"""Who may come in to Redis, on a server that asks: TLS, an ACL user."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.outputs.redis.connection import SinkError, check_redis_url, connect_redis, open_redis
from consumers.settings import SettingsError, load_settings

trustme = pytest.importorskip("trustme")
from tests.secured_servers import PASSWORD, Certificates, secured_redis, tls_redis  # noqa: E402

pytestmark = pytest.mark.slow  # servers that ask for certificates, one after the other


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="module")
def port(certificates: Certificates, tmp_path_factory) -> Iterator[int]:
    with secured_redis(tls_redis(), certificates, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def variables(port, certificates, tmp_path) -> dict[str, str]:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return {
        "CLIPLINE_REDIS": f"rediss://localhost:{port}/0",
        "CLIPLINE_REDIS_SECURITY__USER": "clipline",
        "CLIPLINE_REDIS_SECURITY__PASSWORD_FILE": str(tmp_path / "password"),
        "CLIPLINE_REDIS_SECURITY__CA_FILE": str(certificates.ca_file),
    }


def refusal(variables: dict[str, str]) -> str:
    settings = load_settings(environment=variables)
    with pytest.raises(SinkError) as caught:
        connect_redis(settings.redis)
    line = str(caught.value)
    assert "\n" not in line
    assert PASSWORD not in line
    assert PASSWORD not in repr(settings)
    return line


def test_a_user_comes_in_by_tls_with_the_password_of_a_file(variables):
    with open_redis(load_settings(environment=variables).redis) as client:
        assert client.execute_command("ACL", "WHOAMI") in {b"clipline", "clipline"}


def test_who_does_not_come_in_is_told_what_to_set(variables, certificates, port):
    password = {"CLIPLINE_REDIS_SECURITY__PASSWORD": f"{PASSWORD}x"}
    without = {name: value for name, value in variables.items() if not name.endswith("PASSWORD_FILE")}
    assert "does not accept this user and password: check redis_security.user" in refusal(without | password)
    nobody = {name: value for name, value in without.items() if not name.endswith("USER")}
    assert "does not accept this user and password: check redis_security.user" in refusal(nobody)
    stranger = {"CLIPLINE_REDIS_SECURITY__CA_FILE": str(certificates.stranger_file)}
    assert "nobody signed whom we trust" in refusal(variables | stranger)
    assert "set redis_security.ca_file" in refusal(variables | stranger)
    elsewhere = {"CLIPLINE_REDIS": f"rediss://127.0.0.1:{port}/0"}
    assert "certificate for other hosts: set redis to a host that it names" in refusal(variables | elsewhere)


def test_a_server_whose_certificate_has_expired_is_told(variables, certificates, tmp_path):
    ends = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    with secured_redis(tls_redis(), certificates, tmp_path, ends=ends, name="old") as port:
        told = refusal(variables | {"CLIPLINE_REDIS": f"rediss://localhost:{port}/0"})
    assert "shows a certificate that has expired: renew it there" in told


def test_a_server_that_wants_a_certificate_lets_its_owner_in(variables, certificates, tmp_path):
    certificate, key = certificates.issued("client")
    own = {"CERTIFICATE_FILE": str(certificate), "KEY_FILE": str(key)}
    with secured_redis(tls_redis(), certificates, tmp_path, clients="yes", name="strict") as port:
        at = variables | {"CLIPLINE_REDIS": f"rediss://localhost:{port}/0"}
        assert "set redis_security.certificate_file and key_file" in refusal(at)
        with_own = at | {f"CLIPLINE_REDIS_SECURITY__{name}": value for name, value in own.items()}
        connect_redis(load_settings(environment=with_own).redis).close()


@pytest.fixture
def watched(variables, port, certificates, tmp_path) -> Iterator[dict[str, str]]:
    """The server behind a sentinel that speaks TLS only, too, and wants a certificate of ours."""
    certificate, key = certificates.issued("watcher")
    own = {"CERTIFICATE_FILE": str(certificate), "KEY_FILE": str(key)}
    with secured_redis(tls_redis(), certificates, tmp_path, clients="yes", name="sentinel", watches=port) as sentinel:
        # The first one is not there.
        address = f"rediss+sentinel://localhost:1,localhost:{sentinel}/lights/0"
        yield variables | {
            "CLIPLINE_REDIS": address,
            **{f"CLIPLINE_REDIS_SECURITY__{name}": value for name, value in own.items()},
        }


def test_sentinels_are_asked_by_tls_as_the_server_is(watched):
    settings = load_settings(environment=watched)
    check_redis_url(settings.redis)
    for connect in (connect_redis, open_redis):
        with connect(settings.redis) as client:
            assert client.execute_command("ACL", "WHOAMI") in {b"clipline", "clipline"}
            assert client.set("seen", 1)


def test_who_does_not_come_in_to_sentinels_is_told_what_to_set(watched, certificates):
    stranger = {"CLIPLINE_REDIS_SECURITY__CA_FILE": str(certificates.stranger_file)}
    assert "nobody signed whom we trust" in refusal(watched | stranger)
    without = {n: v for n, v in watched.items() if not n.endswith(("CERTIFICATE_FILE", "KEY_FILE"))}
    assert "set redis_security.certificate_file and key_file" in refusal(without)
    unknown = {"CLIPLINE_REDIS": watched["CLIPLINE_REDIS"].replace("/lights/", "/nights/")}
    assert "(no sentinel names a primary 'nights': Error 111 connecting to localhost:1." in refusal(watched | unknown)


def test_an_address_without_tls_takes_no_certificates(variables):
    with pytest.raises(SettingsError, match="files of redis_security are for TLS: begin the address with rediss://"):
        load_settings(environment=variables | {"CLIPLINE_REDIS": "redis://localhost:1/0"})


def test_an_address_with_another_password_is_not_taken_for_the_same(variables):
    with pytest.raises(SettingsError, match="holds another user or password than redis_security") as caught:
        load_settings(environment=variables | {"CLIPLINE_REDIS": "rediss://clipline:other-pw@localhost:1/0"})
    assert "other-pw" not in str(caught.value)


def test_settings_that_are_applied_again_say_the_same(variables):
    once = load_settings(environment=variables).redis
    assert load_settings(environment=variables | {"CLIPLINE_REDIS": once}).redis == once
    assert Path(variables["CLIPLINE_REDIS_SECURITY__PASSWORD_FILE"]).exists()

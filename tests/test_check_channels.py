"""What `clipline check` says of channels: that nobody would be told is found before anything happens."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import pytest

from consumers.settings import Settings, SettingsError, load_settings
from consumers.setup.check_channels import check_channels

HOOK = {"url": "http://127.0.0.1:1/hook"}
VERDICTS = {"base_url": "https://example.org/v", "secret": "nobody guesses this one"}


def found(**values: object) -> dict[tuple[str, str], str]:
    # Whether the dashboard's port is free is the machine's.
    usual = {"cameras": {"gate": {"url": "rtsp://127.0.0.1:1/x"}}, "dashboard": {"enabled": False}}
    settings = Settings.model_validate(usual | values)
    return {(each.level, each.subject): each.text for each in check_channels(settings)}


def test_what_is_well_is_said_in_a_line():
    said = found(channels={"ops": {**HOOK, "labels": ["fight"], "cameras": ["gat*"]}}, verdicts=VERDICTS)
    assert said == {
        ("ok", "channel ops"): "webhook; `clipline notify test ops` sends one message",
        ("ok", "verdicts"): "http://127.0.0.1:8310 behind https://example.org/v",
    }


def test_an_api_that_everybody_could_use_is_an_error():
    assert "is not served" in found(dashboard={"listen": "0.0.0.0:8320"})["error", "dashboard"]
    assert "HOST:PORT" in found(dashboard={"listen": "[::"})["error", "dashboard"]
    assert "/nosuch cannot be read" in found(dashboard={"secret_file": "/nosuch"})["error", "dashboard"]
    oidc = {"issuer": "https://id.example", "client_id": "clipline", "default_role": "viewer"}
    listen = {"listen": "0.0.0.0:8320"}
    assert "public_url is missing" in found(dashboard={**listen, "oidc": oidc})["error", "dashboard.oidc"]
    unread = {**oidc, "client_secret_file": "/nosuch"}
    assert "/nosuch cannot be read" in found(dashboard={"oidc": unread})["error", "dashboard"]
    tokens = {"ana": {"hash": f"sha256:{64 * '0'}"}}
    for well in ({}, {"listen": "0.0.0.0:8320", "tokens": tokens}, {"listen": "0.0.0.0:8320", "enabled": False}):
        assert [each for each in found(dashboard=well) if each[1] != "port 8320"] == []


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ({**HOOK, "secret": "whsec_short"}, "expected whsec_ and base64"),
        ({**HOOK, "secret_file": "/nosuch"}, "/nosuch cannot be read"),
        ({"url": "https://example.org/${CLIPLINE_TEST_NOT_SET}"}, "not set in the environment: CLIPLINE_TEST_NOT_SET"),
        ({"kind": "apprise", "url": "mailtoo://x@y"}, "did you mean mailto://?"),
        ({"kind": "mqtt", "url": "http://127.0.0.1"}, "expected an address like mqtt://"),
    ],
)
def test_a_channel_that_cannot_be_used_is_an_error(channel: dict[str, object], said: str):
    assert said in found(channels={"ops": channel})["error", "channel ops"]


def test_names_that_nothing_is_called_are_said_with_what_may_be_meant():
    channels = {"ops": {**HOOK, "labels": ["figth"]}, "guard": {**HOOK, "cameras": ["gaet"]}}
    said = found(channels=channels, rules=[{"camera": "nope*", "group": "yard"}])
    assert "did you mean 'fight'?" in said["warning", "channel ops"]
    assert "did you mean 'gate'?" in said["warning", "channel guard"]
    assert "'nope*'" in said["warning", "rules #1"]
    assert not any(level == "ok" for level, _ in said)


def test_the_dashboards_port_is_looked_at_where_it_is_served():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        dashboard = {"listen": f"127.0.0.1:{port}"}
        said = found(dashboard=dashboard)["warning", f"port {port}"]
        assert not [subject for _, subject in found(dashboard={**dashboard, "enabled": False}) if "port" in subject]
    assert "taken by " in said
    assert "dashboard of a `clipline run`" in said
    assert "dashboard.listen" in said
    assert found(dashboard=dashboard)["ok", f"port {port}"] == "free, for the dashboard"


def test_cameras_that_others_attach_are_not_asked_for():
    assert ("warning", "channel ops") not in found(cameras={}, channels={"ops": {**HOOK, "cameras": ["gaet"]}})


def test_pictures_that_nobody_makes_and_a_page_that_nobody_serves_are_said(monkeypatch: pytest.MonkeyPatch):
    channels = {"ops": {**HOOK, "pictures": "inline"}}
    assert "pictures.enabled" in found(channels=channels, pictures={"enabled": False})["warning", "channel ops"]
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in {"PIL", "uvicorn"} else there(name))
    said = found(channels=channels, verdicts=VERDICTS)
    assert "clipline[pictures]" in said["warning", "channel ops"]
    assert "clipline[serve]" in said["error", "verdicts"]
    assert (
        "cannot be read"
        in found(verdicts={"base_url": "https://e.org/v", "secret_file": "/nosuch"})["error", "verdicts"]
    )


@pytest.mark.parametrize(
    "text",
    [
        '[verdicts]\nbase_url = "https://example.org/v"\nsecret = "${CLIPLINE_LINKS_SECRET}"',
        '[channels.ops]\nurl = "https://example.org"\nsecret = "${OPS_SECRET}"',
        '[serve]\ntoken = "${SERVE_TOKEN_OF_OURS}"',
    ],
)
def test_a_secret_is_no_reference_that_nobody_looks_up(tmp_path: Path, text: str):
    """Everybody could sign with what stands in the docs."""
    (tmp_path / "clipline.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"stands for a variable in addresses only: use (secret|token)_file"):
        load_settings(tmp_path / "clipline.toml", {})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"channels": {"ops": {**HOOK, "digest": "08:00"}}}, "expected more than 1.08333: so long channels.ops"),
        ({"channels": {"ops": {**HOOK, "use_by_minutes": 1440}}}, "so long channels.ops"),
        ({"verdicts": {**VERDICTS, "snooze_hours": 48}}, "expected more than 2: so long verdicts.snooze_hours"),
    ],
)
def test_the_ledger_is_kept_for_longer_than_anything_is_held_back(values: dict[str, object], said: str):
    Settings.model_validate(values)
    with pytest.raises(ValueError, match=said):
        Settings.model_validate({**values, "notify": {"keep_days": 1}})

"""`clipline init` writes a file that says everything; the reference of the settings says the same."""

from __future__ import annotations

import re
import runpy
import stat
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.settings import Settings, SettingsError, load_settings
from consumers.setup.settings_file import NAME, described, file_text, new_cameras, secrets_text

REPOSITORY = Path(__file__).resolve().parents[1]
URL = "rtsp://admin:p%40ss%2Fword@10.0.0.7/stream"


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def uncommented(text: str) -> str:
    """The file with every key set to the default or example that stands there."""
    return re.sub(r"^#(?=[a-z_]+ = |\[)", "", text, flags=re.MULTILINE)


def test_the_file_loads_as_it_is_and_holds_the_defaults(tmp_path):
    result = CliRunner().invoke(app, ["init"])
    assert result.exit_code == 0, result.output
    assert "add your cameras" in result.output
    assert load_settings(environment={}) == Settings()
    values = tomllib.loads(uncommented(Path("clipline.toml").read_text()))
    # Without those that only an operator can name, what stands there are the defaults.
    del values["cameras"], values["tracker"]["labels"], values["kafka_security"], values["redis_security"]
    del values["rules"], values["channels"], values["serve"]["token"], values["serve"]["token_file"]
    for key in ("base_url", "secret", "secret_file", "old_secret", "old_secret_file"):
        del values["verdicts"][key]
    for key in (
        "tokens",
        "users",
        "user_header",
        "trusted_proxies",
        "proxy_role",
        "secret",
        "secret_file",
        "oidc",
        "reports",
    ):
        values["dashboard"].pop(key, None)
    for section, key in (
        ("worker", "stride_seconds"),
        ("worker", "threads"),
        ("worker", "instance"),
        ("metrics", "port"),
        ("run", "data"),
        ("topics", "retention_megabytes"),
        ("load", "classes"),
    ):
        del values[section][key]
    assert Settings.model_validate(values) == Settings()


def test_footage_that_is_not_there_is_said_when_the_file_is_written(tmp_path):
    (tmp_path / "here.mp4").touch()
    given = ["gate=/nowhere/x.mp4", "yard=here.mp4", "dock=${DOCK_URL}", "door=rtsp://10.0.0.7/nowhere"]
    result = CliRunner().invoke(app, ["init", *(word for camera in given for word in ("--camera", camera))])
    assert result.exit_code == 0
    warned = [line for line in result.output.splitlines() if "no such" in line]
    assert warned == ["cameras.gate: /nowhere/x.mp4: no such file or folder (yet)"]


def test_every_key_is_in_the_file_with_what_it_does():
    text = file_text([])
    flat = " ".join(text.replace("\n# ", " ").split())
    for table in described():
        assert f"[{table.name}]" in text or table.name in {"", f"cameras.{NAME}"}
        for entry in table.entries:
            assert f"#{entry.key} = " in text or f"# {entry.key}: " in text
            assert " ".join(entry.description.split()) in flat
    values = tomllib.loads(uncommented(text))
    # A password is given here or in a file of its own.
    del (
        values["kafka_security"],
        values["redis_security"],
        values["channels"],
        values["serve"],
        values["verdicts"],
        values["dashboard"],
    )
    for label in Settings.model_validate(values).tracker.labels.values():
        assert None not in label.model_dump().values()


def test_no_key_lacks_a_description_and_each_names_its_unit_or_its_range():
    tables = list(described())
    assert {table.name for table in tables} >= {"", "cameras.NAME", "run", "worker", "tracker", "tracker.labels.NAME"}
    for table in tables:
        assert table.description
        for entry in table.entries:
            assert len(entry.description) > 10, entry
            assert entry.example != "null", f"{entry.key} has no default and no example"
            for unit in ("seconds", "megabytes", "hours"):
                if entry.key.endswith(unit) and not entry.key.startswith("max_restarts"):
                    assert unit[:-1] in entry.description.lower(), entry


def test_the_page_is_what_the_settings_say():
    page = runpy.run_path(str(REPOSITORY / "docs" / "configuration.py"))["page"]()
    assert page == (REPOSITORY / "docs" / "configuration.md").read_text("utf-8"), "run `python docs/configuration.py`"
    example = page.partition("```toml\n")[2].partition("```")[0]
    assert set(Settings.model_validate(tomllib.loads(example)).cameras) == {"dock-1", "gate", "lobby"}


def test_passwords_become_references_and_the_address_comes_back_from_them():
    result = CliRunner().invoke(app, ["init", "--camera", f"dock-1={URL}", "--camera", "gate=gate.mp4"])
    assert result.exit_code == 0, result.output
    assert "export DOCK_1_USER=…" in result.output
    assert "export DOCK_1_PASSWORD=…" in result.output
    text = Path("clipline.toml").read_text()
    assert "p%40ss" not in text + result.output
    assert "p@ss" not in text + result.output
    cameras = load_settings(environment={}).cameras
    assert cameras["dock-1"].address({"DOCK_1_USER": "admin", "DOCK_1_PASSWORD": "p@ss/word"}) == URL
    assert cameras["gate"].url == "gate.mp4"


def test_secrets_are_written_for_their_owner_alone_when_asked(tmp_path):
    arguments = ["init", "--camera", f"dock-1={URL}", "--secrets", "clipline.env"]
    result = CliRunner().invoke(app, arguments)
    assert "set -a; . ./clipline.env; set +a" in result.output
    file = tmp_path / "clipline.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == "DOCK_1_USER=admin\nDOCK_1_PASSWORD=p@ss/word\n"
    file.chmod(0o644)
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_there_is_not_overwritten_unless_forced(tmp_path):
    file = tmp_path / "clipline.toml"
    file.write_text("# mine")
    result = CliRunner().invoke(app, ["init"])
    assert isinstance(result.exception, SettingsError)
    assert "--force" in str(result.exception)
    assert file.read_text() == "# mine"
    assert CliRunner().invoke(app, ["init", "--force"]).exit_code == 0
    assert file.read_text() != "# mine"


def test_names_that_would_share_a_variable_get_their_own():
    cameras = new_cameras(["a-b=rtsp://u:1@h", "a.b=rtsp://u:2@h", "7=rtsp://h/?user=x&password=3"])
    assert [list(camera.secrets) for camera in cameras] == [
        ["A_B_USER", "A_B_PASSWORD"],
        ["A_B_USER_2", "A_B_PASSWORD_2"],
        ["CAMERA_7_SECRET"],
    ]
    assert cameras[2].url == "rtsp://h/?user=x&password=${CAMERA_7_SECRET}"
    assert "'" in secrets_text(new_cameras(["a=rtsp://u:it's;x@h"]))
    assert set(Settings.model_validate(tomllib.loads(file_text(cameras))).cameras) == {"a-b", "a.b", "7"}


@pytest.mark.parametrize("given", ["dock", "=x", "dock=", "rtsp://u:hunter2@h/x?a=b", "a b=x"])
def test_what_is_no_camera_is_said_without_its_password(given):
    with pytest.raises(SettingsError, match="--camera: ") as caught:
        new_cameras([given])
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SettingsError, match="dock is given twice"):
        new_cameras(["dock=x", "dock=y"])

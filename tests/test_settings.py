"""What an operator sets is what counts, and what is not understood is said."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.settings import Settings, SettingsError, load_settings, override

TOML = """
kafka = "broker.example:9092"

[topics]
prefix = "site-7"

[worker]
model = "x3d"
stride_seconds = 0.8

[tracker]
min_seconds = 1.5

[tracker.labels."climbing a rope"]
start = 0.7
"""


def written(folder: Path, text: str, name: str = "clipline.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_file_and_without_variables_the_defaults_hold():
    settings = load_settings(environment={"PATH": "/bin"})
    assert settings == Settings()
    assert settings.kafka == "127.0.0.1:9092"
    assert settings.topics.segments == "clipline.segments"
    assert settings.topics.deadletter == "clipline.deadletter"
    assert settings.segments.limits.max_bytes == 8 * 1024 * 1024


@pytest.mark.parametrize(("one", "other"), [("worker", "notify"), ("pictures", "worker"), ("pictures", "notify")])
def test_two_kinds_of_processes_never_share_a_group(one, other):
    with pytest.raises(ValidationError, match=r"expected a group of its own for each"):
        Settings.model_validate({one: {"group": "site"}, other: {"group": "site"}})


def test_the_file_in_the_working_directory_is_read(tmp_path):
    written(tmp_path, TOML)
    settings = load_settings(environment={})
    assert settings.kafka == "broker.example:9092"
    assert settings.topics.events == "site-7.events"
    assert settings.worker.stride_seconds == 0.8
    assert settings.tracker.labels["climbing a rope"].start == 0.7
    assert settings.worker.max_batch == Settings().worker.max_batch


def test_a_named_file_is_read_instead_and_the_argument_wins_over_the_variable(tmp_path):
    written(tmp_path, 'kafka = "here:1"')
    by_variable = written(tmp_path, 'kafka = "variable:1"', "variable.toml")
    by_argument = written(tmp_path, 'kafka = "argument:1"', "argument.toml")
    environment = {"CLIPLINE_SETTINGS": str(by_variable)}
    assert load_settings(environment=environment).kafka == "variable:1"
    assert load_settings(by_argument, environment).kafka == "argument:1"


def test_the_environment_wins_over_the_file_key_by_key(tmp_path):
    written(tmp_path, TOML)
    environment = {
        "CLIPLINE_KAFKA": "other.example:9092",
        "CLIPLINE_WORKER__MODEL": "cnn-lstm",
        "CLIPLINE_WORKER__MAX_BATCH": "4",
        "CLIPLINE_TRACKER__LABELS__RUN__START": "0.9",
    }
    settings = load_settings(environment=environment)
    assert settings.kafka == "other.example:9092"
    assert (settings.worker.model, settings.worker.max_batch) == ("cnn-lstm", 4)
    assert settings.worker.stride_seconds == 0.8  # from the file, in the same section
    assert {label: s.start for label, s in settings.tracker.labels.items()} == {"climbing a rope": 0.7, "run": 0.9}


def test_the_command_line_wins_over_both_where_it_says_something(tmp_path):
    settings = load_settings(written(tmp_path, TOML), {"CLIPLINE_WORKER__MODEL": "cnn-lstm"})
    changed = override(settings, {"kafka": None, "worker": {"model": "r3d", "threads": None}}, "command line")
    assert changed.worker.model == "r3d"
    assert (changed.kafka, changed.worker.stride_seconds) == ("broker.example:9092", 0.8)
    with pytest.raises(SettingsError, match=r"^command line: worker\.threads = 0: "):
        override(settings, {"worker": {"threads": 0}}, "command line")


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ('kafak = "x:1"', "kafak", "did you mean 'kafka'?"),
        ("[worker]\nstride_second = 1", "worker.stride_second", "did you mean 'stride_seconds'?"),
        ("[wrker]\nmodel = 'x'", "wrker", "did you mean 'worker'?"),
        ("[redis_limits]\nzzz = 1", "redis_limits.zzz", "known are max_predictions, max_events"),
        ("[tracker.labels.run]\nstrat = 0.5", "tracker.labels.run.strat", ""),
    ],
)
def test_an_unknown_key_is_named_with_its_file_and_what_may_be_meant(tmp_path, text, key, hint):
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert str(caught.value).startswith(f"{path}: unknown setting {key!r}")
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", ["CLIPLINE_KAFAK", "CLIPLINE_WORKER__STRIDE_SECOND", "CLIPLINE_WRKER__MODEL"])
def test_an_unknown_variable_is_an_error_too(name):
    with pytest.raises(SettingsError, match=r"^environment: unknown setting '"):
        load_settings(environment={name: "1"})


def test_variables_of_tools_beside_it_are_no_settings():
    environment = {
        "CLIPLINE_KAFKA_LIBS": "/x",
        "CLIPLINE_MODEL_MIRROR": "x",
        "CLIPLINE_REQUIRE_APACHE": "1",
        "CLIPLINE_REQUIRE_RTSP": "1",
    }
    assert load_settings(environment=environment) == Settings()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("kafka = 9092", "kafka"),
        ('kafka = ""', "kafka"),
        ('redis = "localhost:6379"', "redis"),
        ("worker = 3", "worker"),
        ('[topics]\nprefix = "a b"', "topics.prefix"),
        ('[topics]\nprefix = "a\\n"', "topics.prefix"),
        ("[topics]\npartitions = 0", "topics.partitions"),
        ("[topics]\npartitions = 1.5", "topics.partitions"),
        ("[topics]\nretention_hours = inf", "topics.retention_hours"),
        ("[segments]\nmax_seconds = nan", "segments.max_seconds"),
        ("[segments]\nmin_seconds = 3.0\nmax_seconds = 2.0", "segments"),
        ("[segments]\nmax_megabytes = 9.5", "segments.max_megabytes"),
        ('[worker]\nengine = "tensorrt"', "worker.engine"),
        ("[worker]\nstride_seconds = -1", "worker.stride_seconds"),
        ("[worker]\nmax_batch = 0", "worker.max_batch"),
        ("[tracker.labels.run]\nstart = 1.5", "tracker.labels.run.start"),
        ("[tracker.labels.run]\nstart = 'high'", "tracker.labels.run.start"),
        ("[redis_limits]\nmax_events = 0", "redis_limits.max_events"),
    ],
)
def test_a_bad_value_is_named_with_its_key_and_its_file(tmp_path, text, key):
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert str(caught.value).startswith(f"{path}: {key} = ")


def test_a_bad_value_from_the_environment_is_named_as_such(tmp_path):
    written(tmp_path, TOML)
    with pytest.raises(SettingsError, match=r"^environment: worker\.max_batch = 'many': "):
        load_settings(environment={"CLIPLINE_WORKER__MAX_BATCH": "many"})


def test_values_that_only_together_make_no_sense_name_both_places(tmp_path):
    path = written(tmp_path, "[segments]\nmin_seconds = 1.5")
    with pytest.raises(SettingsError, match=r"and environment: segments = .*segment limits: expected"):
        load_settings(path, {"CLIPLINE_SEGMENTS__MAX_SECONDS": "1.0"})


@pytest.mark.parametrize("order", [1, -1])
def test_a_variable_that_is_a_section_and_a_value_at_once_is_named(order):
    pairs = [("CLIPLINE_WORKER", "x"), ("CLIPLINE_WORKER__MODEL", "y")][::order]
    with pytest.raises(SettingsError, match=r"^environment: CLIPLINE_WORKER"):
        load_settings(environment=dict(pairs))


def test_a_password_is_not_shown(tmp_path):
    path = written(tmp_path, 'redis = "http://user:hunter2@cache.example:6379"')
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert "hunter2" not in str(caught.value)
    assert f"{path}: redis = …: expected redis://host:port/database" in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"missing\.toml: no such settings file"):
        load_settings(tmp_path / "missing.toml", {})
    with pytest.raises(SettingsError, match=r"missing\.toml: no such settings file"):
        load_settings(environment={"CLIPLINE_SETTINGS": "missing.toml"})
    with pytest.raises(SettingsError, match="a folder; expected a settings file"):
        load_settings(tmp_path, {})
    for content in (b"kafka = ", b"\xff\xfe"):
        (tmp_path / "broken.toml").write_bytes(content)
        with pytest.raises(SettingsError, match=r"broken\.toml: not TOML: "):
            load_settings(tmp_path / "broken.toml", {})


@given(
    st.dictionaries(
        st.lists(
            st.sampled_from(["KAFKA", "WORKER", "MODEL", "", "TRACKER", "LABELS", "x"]), min_size=1, max_size=4
        ).map("__".join),
        st.text(max_size=5),
        max_size=4,
    )
)
@examples(max_examples=100, deadline=None)
def test_arbitrary_variables_are_settings_or_the_one_error(variables):
    with contextlib.suppress(SettingsError):
        load_settings(environment={f"CLIPLINE_{name}": value for name, value in variables.items()})


SECRET = "p@s:s/w%rd"


def test_a_camera_is_an_address_with_references_or_a_file_that_holds_it(tmp_path):
    (tmp_path / "secret").write_text("rtsp://admin:hunter2@10.0.0.8/stream\n")
    text = """
        [cameras.dock-1]
        url = "rtsp://${DOCK_USER}:${DOCK_PASSWORD}@10.0.0.7/${DOCK_PATH}"
        [cameras.gate]
        url_file = "secret"
        [cameras.lobby]
        url = "footage/lobby.mp4"
        loop = true
    """
    cameras = load_settings(written(tmp_path, text), {}).cameras
    variables = {"DOCK_USER": "admin", "DOCK_PASSWORD": SECRET, "DOCK_PATH": "live/1"}
    assert cameras["dock-1"].address(variables) == "rtsp://admin:p%40s%3As%2Fw%25rd@10.0.0.7/live/1"
    assert cameras["gate"].address() == "rtsp://admin:hunter2@10.0.0.8/stream"
    assert (cameras["lobby"].address(), cameras["lobby"].loop) == ("footage/lobby.mp4", True)


def test_passwords_are_in_no_repr_dump_or_error(tmp_path):
    text = 'redis = "redis://u:hunter2@cache:1/0"\n[cameras.dock]\nurl = "rtsp://u:hunter2@h/x?password=hunter3"'
    settings = load_settings(written(tmp_path, text), {})
    shown = f"{settings} {settings!r} {settings.cameras!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert "hunter" not in shown
    assert "rtsp://h/x" in shown
    changed = override(settings, {"worker": {"model": "x3d-xs"}}, "command line")
    assert changed.cameras["dock"].address() == "rtsp://u:hunter2@h/x?password=hunter3"
    assert changed.redis == "redis://u:hunter2@cache:1/0"
    for wrong in ("loop = true", 'url_file = "y"', "ulr = 3"):
        with pytest.raises(SettingsError) as caught:
            load_settings(written(tmp_path, f"{text}\n{wrong}"), {})
        assert "hunter" not in str(caught.value)
        assert "cameras.dock" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[cameras."a b"]\nurl = "x"', "cameras.a b: camera id 'a b': expected 1 to 64 letters"),
        ('[cameras]\nb = "x"', "cameras.b = …: expected a table, [cameras.b]"),
        ("[cameras.b]\nloop = true", "expected either url or url_file"),
        ('[cameras.b]\nurl = "x"\nurl_file = "y"', "expected either url or url_file"),
        ('[cameras.b]\nurl = "rtsp://h"\nloop = true', "loop is for footage"),
        ('[cameras.b]\nulr = "x"', "unknown setting 'cameras.b.ulr'; did you mean 'url'?"),
        ("[tracker.labels.run]\nstrat = 0.5", "unknown setting 'tracker.labels.run.strat'; did you mean 'start'?"),
    ],
)
def test_a_wrong_camera_is_named(tmp_path, text, message):
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, text), {})
    assert message in str(caught.value)


def test_a_camera_may_come_from_file_and_environment_together(tmp_path):
    path = written(tmp_path, '[cameras.gate]\nurl = "gate.mp4"')
    cameras = load_settings(
        path, {"CLIPLINE_CAMERAS__GATE__LOOP": "true", "CLIPLINE_CAMERAS__DOCK__URL": "d.mp4"}
    ).cameras
    assert (cameras["gate"].loop, cameras["dock"].url) == (True, "d.mp4")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"\xff\xfe", "is not text"), (b"", "found 0"), (b"a\nb", "found 2")],
)
def test_a_file_that_holds_no_address_is_named_without_what_is_in_it(tmp_path, content, message):
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    camera = load_settings(written(tmp_path, '[cameras.gate]\nurl_file = "secret"'), {}).cameras["gate"]
    with pytest.raises(SettingsError, match=rf"^cameras\.gate\.url_file: secret.*{message}"):
        camera.address()


def test_all_variables_that_are_missing_are_named(tmp_path):
    camera = load_settings(written(tmp_path, '[cameras.a]\nurl = "rtsp://${U}:${P}@h"'), {}).cameras["a"]
    assert camera.references() == ["U", "P"]
    with pytest.raises(SettingsError, match=r"^cameras\.a\.url: not set in the environment: U, P$"):
        camera.address({"P": ""})


def test_the_first_wrong_line_is_the_message_and_the_others_are_problems(tmp_path):
    path = written(tmp_path, 'kafak = "x"\n[worker]\nmax_batch = 0')
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {"CLIPLINE_REDDIS": "y"})
    assert str(caught.value).endswith("(and 2 more: see `clipline check`)")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [str(path), str(path), "environment"]

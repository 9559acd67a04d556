"""Whatever stands in a settings file or in the environment: settings, or an error of one line for each problem."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from consumers.settings import ENVIRONMENT_PREFIX, Settings, SettingsError, load_settings, section_of

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**63, 10**400, 1e18, math.inf, math.nan, True])
TEXTS = st.text(max_size=20) | st.sampled_from(["1", "0.7", "true", "${X}", "rtsp://a:b@c", "a" * 5000, "\x1b[31m"])
VALUES = st.recursive(
    NUMBERS | TEXTS | st.booleans() | st.just(dt.date(2026, 1, 1)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)


def tables(section: Any = Settings) -> st.SearchStrategy[dict[str, Any]]:
    """Tables with the keys of the settings, some of them, with values that may or may not suit."""
    keys = {}
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is None:
            keys[name] = VALUES
        elif inner is field.annotation:
            keys[name] = tables(inner) | VALUES
        else:
            keys[name] = st.dictionaries(TEXTS | st.just("gate"), tables(inner) | VALUES, max_size=2) | VALUES
    return st.fixed_dictionaries({}, optional=keys).flatmap(
        lambda some: st.dictionaries(TEXTS, VALUES, max_size=1).map(lambda other: other | some)
    )


def toml(table: Mapping[str, Any]) -> str:
    """The table as TOML, in lines of its own."""
    return "\n".join(f"{json.dumps(key)} = {toml_value(value)}" for key, value in table.items())


def toml_value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float() if not math.isfinite(value):
            return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
        case dict():
            return "{" + ", ".join(f"{json.dumps(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
        case list():
            return f"[{', '.join(map(toml_value, value))}]"
        case str():
            return json.dumps(value)
        case _:
            return str(value)


def settings_or_lines(path: Path | None, environment: Mapping[str, str]) -> None:
    """No other error than one that is told in lines, each of which a person can read."""
    try:
        load_settings(path, environment)
    except SettingsError as error:
        lines = [str(error), *error.problems]
    else:
        return
    assert len(lines) > 1
    for line in lines:
        assert line.strip()
        assert "\n" not in line
        assert len(line) < 20_000


@pytest.mark.slow
@given(tables())
@example({"tracker": {"labels": {"fight": {"start": True}}}})
@examples(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_any_values_in_a_file(tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(toml(table), "utf-8", errors="ignore")
    settings_or_lines(path, {})


@given(
    st.text(max_size=60)
    | st.sampled_from(["a=" + "[" * 9000, "a=" + "9" * 9000, "a." * 3000 + "b=1", "[a]\n[a]", "\0"])
)
@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_as_a_file(tmp_path_factory: pytest.TempPathFactory, text: str):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    settings_or_lines(path, {})


NAMES = st.sampled_from(
    [
        "KAFKA",
        "KAFAK",
        "WORKER",
        "WORKER__MODEL",
        "WORKER__MAX_BATCH__X",
        "_",
        "__",
        "CAMERAS__A__URL",
        "A" * 3000,
        "__" * 2000,
    ]
)


@given(st.dictionaries(NAMES | st.text("AKW_", max_size=9), st.text(max_size=20), max_size=4))
@example({"__" * 2000: "1"})
@examples(max_examples=40, deadline=None)
def test_any_variables(variables: dict[str, str]):
    settings_or_lines(None, {ENVIRONMENT_PREFIX + k: v for k, v in variables.items()})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[tracker.labels.fight]\nstart = true",
            "tracker.labels.fight.start = True: expected a number, without quotes",
        ),
        ('[tracker.labels.fight]\nstart = "0.7"', "tracker.labels.fight.start = '0.7': expected a number, without"),
        ("[topics]\nretention_hours = 1e18", "topics.retention_hours = 1e+18: Input should be less than or equal to"),
        ("[run]\ntake_over = 1", "run.take_over = 1: expected true or false, without quotes"),
        ("[run]\nworkers = 2.0", "run.workers = 2.0: expected a whole number, without quotes"),
        ("[worker]\nthreads = true", "worker.threads = True: expected a whole number, without quotes"),
        ('[cameras.a]\nurl = "x"\nfps = "5"', "cameras.a.fps = …: expected a number, without quotes"),
    ],
)
def test_a_value_of_another_type_than_it_stands_for_is_an_error(tmp_path: Path, text: str, said: str):
    path = tmp_path / "clipline.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(f"{path}: {said}")


def test_variables_are_text_and_stand_for_what_they_spell():
    environment = {"CLIPLINE_TRACKER__LABELS__FIGHT__START": "0.7", "CLIPLINE_RUN__TAKE_OVER": "true"}
    found = load_settings(None, environment)
    assert (found.tracker.labels["fight"].start, found.run.take_over) == (0.7, True)


def numbers(section: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            yield from numbers(inner, f"{at}{name}.")
        elif field.annotation in {int, float, int | None, float | None}:
            yield f"{at}{name}", field


@pytest.mark.parametrize(("name", "field"), list(numbers(Settings)))
def test_every_number_has_a_bound_above(name: str, field: Any):
    assert any(hasattr(each, "le") or hasattr(each, "lt") for each in field.metadata), name

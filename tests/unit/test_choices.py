"""Every choice is taken in any case at every door: `"schedule_type": "INTERVAL"` as a person writes it.

What is a choice is asked of the doors themselves, so one that is added later is in here, or the test says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer
from fastapi import FastAPI
from pydantic import TypeAdapter

from scheduler_core import Container, ScheduleJob, Settings, job, load_settings
from scheduler_core import service as service_module
from scheduler_core.cli import drill
from scheduler_core.cli.app import app as command_line
from scheduler_core.cli.jobs import _policies
from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.drill.schedule import FAULT_NAMES
from scheduler_core.jobs_file.reading import parse_jobs
from scheduler_core.web import create_app
from scheduler_core.web.api import schemas
from scheduler_core.web.pages.edit import INPUTS, as_definition, as_text

CHOICES: dict[str, type[StrEnum]] = {
    name: field.annotation
    for name, field in ScheduleJob.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, StrEnum)
}
"""Of a job: its schedule's type, and its policies."""

VALUES = {"interval": 30, "daily": "14:30", "cron": "0 9 * * *", "once": None}
SPELLINGS: dict[str, Callable[[StrEnum], str]] = {
    "as it is": lambda word: word.value,
    "in capitals": lambda word: word.value.upper(),
    "with one": lambda word: word.value.capitalize(),
    "mixed": lambda word: word.value.swapcase().title(),
    "by its name": lambda word: word.name,
}


def work() -> None: ...


def base(**fields: Any) -> dict[str, Any]:
    """A job's fields, with a value that its schedule's type takes."""
    kind = str(fields.get("schedule_type", "interval")).lower()
    return {"schedule_type": "interval", "schedule_value": VALUES[kind], "timezone": "UTC"} | fields


def of_python(**fields: Any) -> JobDefinition:
    return ScheduleJob("j", "J", callback=work, **base(**fields)).definition("UTC")


def of_decorator(**fields: Any) -> JobDefinition:
    # The type is said by the name of a keyword there.
    by_name = {"schedule_type"} & fields.keys()
    service_module._declared.pop("j", None)
    job("j", every=30, **{name: value for name, value in fields.items() if name not in by_name})(work)
    declared = service_module._declared.pop("j")
    for name in by_name:
        declared = declared.model_copy(update={"schedule_value": VALUES[fields[name].lower()]})
        declared = ScheduleJob(**declared.model_dump() | {name: fields[name]})
    return declared.definition("UTC")


def of_api(**fields: Any) -> JobDefinition:
    asked = schemas.JobDefinition(job_id="j", callback="app:work", **base(**fields))
    return ScheduleJob(**asked.model_dump(exclude_unset=True) | {"name": "J"}).definition("UTC")


def of_file(**fields: Any) -> JobDefinition:
    lines = [f'{name} = "{value}"' for name, value in fields.items() if name != "schedule_type"]
    key = {"interval": "every = 30", "daily": 'daily = "14:30"', "cron": 'cron = "0 9 * * *"', "once": 'once = "NOW"'}
    kind = key[str(fields.get("schedule_type", "interval")).lower()]
    text = "\n".join(["[jobs.j]", kind, 'callback = "app:work"', 'timezone = "UTC"', *lines])
    return parse_jobs(text.encode(), "the file")[0].definition("UTC")


def of_command(**fields: Any) -> JobDefinition:
    policies = _policies([f"{name}={value}" for name, value in fields.items() if name != "schedule_type"])
    return ScheduleJob("j", "J", callback=work, **base(**fields) | policies).definition("UTC")


def of_page(**fields: Any) -> JobDefinition:
    stored = of_python()
    value = VALUES[str(fields.get("schedule_type", "interval")).lower()]
    return as_definition(stored, {**as_text(stored), "schedule_value": str(value or ""), **fields})


DOORS = {
    "Python": of_python,
    "@job": of_decorator,
    "API": of_api,
    "jobs-file": of_file,
    "command line": of_command,
    "dashboard": of_page,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("door", DOORS)
def test_a_choice_of_a_job_in_any_case(door: str, choice: str, spelling: str) -> None:
    for word in CHOICES[choice]:
        definition = DOORS[door](**{choice: SPELLINGS[spelling](word)})
        assert getattr(definition, choice) is word


@pytest.mark.parametrize("choice", CHOICES)
def test_a_word_that_is_none_of_them_is_told_what_they_are(choice: str) -> None:
    listed = ", ".join(CHOICES[choice])
    for word in ("x", "", "ALL_", "ＳＫＩＰ", 5, None, True):
        with pytest.raises(InvalidJobError, match=f"{choice}: can't be .*give one of {listed}"):
            of_python(**{choice: word, "schedule_value": 30}) if choice != "schedule_type" else ScheduleJob(
                "j",
                "J",
                word,
                30,
                work,  # type: ignore[arg-type]
            )


def test_the_dashboard_offers_every_choice_of_a_job() -> None:
    offered = {one.name: one.choices for one in INPUTS if one.choices}
    assert {name: offered[name] for name in CHOICES} == {name: tuple(kind) for name, kind in CHOICES.items()}


def test_a_row_that_sql_reads_too_holds_the_word_itself() -> None:
    """Recovery asks the column: what is called at most once by one reading must not be delivered twice by the other."""
    columns = {name: getattr(of_python(), name) for name in JobDefinition.__dataclass_fields__}
    assert JobDefinition.from_columns(columns | {"overlap": "ALLOW"}).overlap == "allow"
    with pytest.raises(InvalidJobError, match=r"delivery: can't be 'AT_MOST_ONCE' in a row.*write 'at_most_once'"):
        JobDefinition.from_columns(columns | {"delivery": "AT_MOST_ONCE"})


# --- other choices


def functions(commands: typer.Typer) -> Iterator[Callable[..., Any]]:
    for command in commands.registered_commands:
        assert command.callback is not None
        yield command.callback
    for group in commands.registered_groups:
        assert group.typer_instance is not None
        yield from functions(group.typer_instance)


def kinds_in(annotation: Any) -> set[type[StrEnum]]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return {annotation}
    return {kind for part in get_args(annotation) for kind in kinds_in(part)}


def test_every_choice_of_the_command_line_is_taken_in_any_case() -> None:
    found = {
        (function.__name__, name): next(one for one in get_args(hint) if hasattr(one, "case_sensitive"))
        for function in functions(command_line)
        for name, hint in get_type_hints(function, include_extras=True).items()
        if kinds_in(hint)
    }
    assert len(found) >= 5
    assert [where for where, option in found.items() if option.case_sensitive] == []
    assert drill._fault_names(["KILL,Stop"]) == ("kill", "stop")
    assert drill._fault_names(["ALL"]) == FAULT_NAMES


@pytest.fixture
def served() -> FastAPI:
    # Never asked for anything but its own description.
    return create_app(Container(load_settings(database_url="postgresql://h/d", redis_url="redis://h")))


def test_every_choice_that_the_api_is_asked_is_taken_in_any_case_and_documented_so(served: FastAPI) -> None:
    document = served.openapi()
    components = document["components"]["schemas"]
    documented: dict[str, list[Any]] = {}

    def walk(schema: dict[str, Any], where: str, *, is_in_any_case: bool = False) -> None:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if "enum" in components[name]:
                documented.setdefault(name, []).append((where, is_in_any_case))
            else:
                walk(components[name], f"{where}.{name}")
            return
        assert "enum" not in schema, where
        alternatives = schema.get("anyOf", [])
        has_pattern = any("pattern" in one and one.get("description") == "in any case" for one in alternatives)
        for one in [*alternatives, *schema.get("properties", {}).values(), *filter(None, [schema.get("items")])]:
            walk(one, where, is_in_any_case=has_pattern)

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                walk(parameter["schema"], f"{method} {path} {parameter['name']}")
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                walk(body["schema"], f"{method} {path}")
    assert {"ScheduleType", "Misfire", "Overlap", "Delivery", "Dst", "Scope", "RunStatus", "Format", "AlarmKind"} <= (
        documented.keys()
    )
    assert [where for places in documented.values() for where, in_any_case in places if not in_any_case] == []


def test_what_the_api_documents_is_what_it_takes() -> None:
    """The pattern says yes to what is taken, and to nothing else."""
    properties = schemas.JobDefinition.model_json_schema()["properties"]
    for name, kind in CHOICES.items():
        words, pattern = properties[name]["anyOf"]
        adapter = TypeAdapter(schemas.JobDefinition.model_fields[name].rebuild_annotation())
        assert "$ref" in words
        for spelling in SPELLINGS.values():
            for word in kind:
                assert re.search(pattern["pattern"], spelling(word))
                assert adapter.validate_python(spelling(word)) is word
        for wrong in ("x", " interval", f"{next(iter(kind))} ", "ＳＫＩＰ", "ſkip", ""):
            assert not re.search(pattern["pattern"], wrong)
            with pytest.raises(ValueError, match="Input should be"):
                adapter.validate_python(wrong)


def words_of(annotation: Any) -> tuple[str, ...]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(annotation)
    return tuple(one for one in get_args(annotation) if isinstance(one, str))


SETTINGS = {name: words for name, field in Settings.model_fields.items() if (words := words_of(field.annotation))}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title])
def test_every_choice_of_the_settings_is_taken_in_any_case(
    name: str, spell: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for word in SETTINGS[name]:
        assert getattr(load_settings(**{name: spell(word)}), name) == word
        with monkeypatch.context() as variables:
            variables.setenv(f"SCHEDULER_{name.upper()}", spell(word))
            assert getattr(load_settings(), name) == word
        Path("scheduler.toml").write_text(f'{name} = "{spell(word)}"\n')
        assert getattr(load_settings(), name) == word
        Path("scheduler.toml").unlink()


def test_the_settings_have_choices() -> None:
    assert SETTINGS == {
        "redis_outage": ("hold", "stop"),
        "callbacks": ("application", "registered"),
        "log_format": ("text", "json"),
    }

"""What operators do: each is asked for on a form that says what will happen, and is done when the form comes back.

The forms work without a script, as pages of their own; with one they stand in a dialog. What was done is told by the
page that is shown next. Every change goes through the operations, which write down who made it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from scheduler_core.container import Container
from scheduler_core.domain.access.access import Scope
from scheduler_core.domain.errors import InvalidJobError, JobVersionNotFoundError, SchedulerError
from scheduler_core.domain.runs.run import RunStatus, run_uuid
from scheduler_core.domain.schedule import parse_instant
from scheduler_core.web.access import Caller
from scheduler_core.web.pages.rendering import link_in, render
from scheduler_core.web.pages.routes import PageRoute
from scheduler_core.web.pages.screens import signed_in
from scheduler_core.web.problem import problem_of
from scheduler_core.web.state import state_of

router = APIRouter(route_class=PageRoute)

Values = Mapping[str, str]
Place = tuple[str, dict[str, Any]]
"""A path of ours with its parameters."""

MOST_VALUE_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Field:
    """Something to fill in."""

    name: str
    label: str
    hint: str = ""
    example: str = ""
    most: int = 200


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that an operator does.

    `title` and `sentences` ask for it, `verb` is on its button, `parameters` name what it is done to, `perform` does it
    and says which page to show then.
    """

    path: str
    title: str
    verb: str
    sentences: tuple[str, ...]
    perform: Callable[[Container, Caller, Values], Awaitable[Place]]
    parameters: tuple[str, ...] = ("id",)
    fields: tuple[Field, ...] = ()
    is_dangerous: bool = False


async def _trigger(container: Container, caller: Caller, values: Values) -> Place:
    run = await container.get_operations(caller.actor).trigger(values["id"])
    return "/run", {"id": run.run_id, "done": "triggered"}


async def _pause(container: Container, caller: Caller, values: Values) -> Place:
    await container.get_operations(caller.actor).pause(
        values["id"], until=_instant(values["until"]), by=caller.actor.name, note=values["note"].strip() or None
    )
    return "/job", {"id": values["id"], "done": "paused"}


async def _resume(container: Container, caller: Caller, values: Values) -> Place:
    await container.get_operations(caller.actor).resume(values["id"])
    return "/job", {"id": values["id"], "done": "resumed"}


async def _remove(container: Container, caller: Caller, values: Values) -> Place:
    await container.get_operations(caller.actor).remove(values["id"])
    return "/jobs", {"done": "removed"}


async def _revert(container: Container, caller: Caller, values: Values) -> Place:
    wanted = values["version"]
    if not wanted.isascii() or not wanted.isdigit() or len(wanted) > 18:
        raise JobVersionNotFoundError("that is no version of a job: its changes show those there are")
    changed = await container.get_operations(caller.actor).revert(values["id"], int(wanted))
    return "/job", {"id": values["id"], "done": "reverted" if changed else "same"}


async def _retry(container: Container, _caller: Caller, values: Values) -> Place:
    run = await container.get_run_operations().rerun(run_uuid(values["id"]))
    return "/run", {"id": run.run_id, "done": "rerun"}


async def _cancel(container: Container, caller: Caller, values: Values) -> Place:
    answer = await container.get_run_operations().cancel(run_uuid(values["id"]), caller.actor.name)
    done = "cancelling" if answer.status is RunStatus.RUNNING else "cancelled"
    return "/run", {"id": values["id"], "done": done}


async def _resign(container: Container, caller: Caller, _values: Values) -> Place:
    pulse = await container.get_activity().pulse()
    leads = pulse["instance_id"] is not None
    if leads:
        await container.ask_to_resign(pulse["term"], caller.actor.name)
    return "/replicas", {"done": "resigning" if leads else "nobody-leads"}


def _instant(text: str) -> datetime | None:
    """Raises InvalidScheduleError."""
    return parse_instant(text.strip(), "UTC") if text.strip() else None


ACTIONS = (
    Action(
        "/job/trigger",
        "Run {id} now?",
        "Run now",
        ("One run is added beside the schedule, due at once. The schedule stays as it is.",),
        _trigger,
    ),
    Action(
        "/job/pause",
        "Pause {id}?",
        "Pause",
        (
            "It stops firing, on every replica, and a deploy does not undo it. What falls due meanwhile is counted as "
            "missed.",
        ),
        _pause,
        fields=(
            Field("note", "Why", "For those who wonder later.", most=500),
            Field("until", "Until", "In UTC; empty: until somebody resumes it.", "2026-01-31T09:00", 40),
        ),
    ),
    Action(
        "/job/resume",
        "Let {id} fire again?",
        "Resume",
        ("It goes on with its next occurrence. What fell due meanwhile is counted as missed, not made up for.",),
        _resume,
    ),
    Action(
        "/job/remove",
        "Remove {id}?",
        "Remove",
        ("Its definition goes, its history stays. Code that declares it adds it again when it starts.",),
        _remove,
        is_dangerous=True,
    ),
    Action(
        "/job/revert",
        "Bring back version {version} of {id}?",
        "Revert",
        (
            "The definition of that version stands again; a pause stays. The same code does not undo it, other code "
            "does.",
        ),
        _revert,
        ("id", "version"),
    ),
    Action(
        "/run/retry",
        "Run it again?",
        "Run again",
        ("A new run is due at once, by the job's definition of today. It names this one, run {id}.",),
        _retry,
    ),
    Action(
        "/run/cancel",
        "Cancel this run?",
        "Cancel the run",
        (
            "Run {id} ends without a retry. If it executes already, its coroutine is cancelled; a callback in a thread "
            "can't be stopped, and its run ends when it returns.",
        ),
        _cancel,
        is_dangerous=True,
    ),
    Action(
        "/leader/resign",
        "Have the leader resign?",
        "Resign",
        (
            "It gives up its term and another replica takes the next one, within milliseconds. What it executes now it "
            "finishes.",
        ),
        _resign,
        (),
    ),
)


def _add(action: Action) -> None:
    async def ask(request: Request, _caller: Caller = Depends(signed_in(Scope.OPERATOR))) -> Response:  # noqa: B008
        return _form(request, action, _given(action, request.query_params), None, 200)

    async def perform(request: Request, caller: Caller = Depends(signed_in(Scope.OPERATOR))) -> Response:  # noqa: B008
        values = _given(action, await request.form())
        try:
            path, parameters = await action.perform(state_of(request).container, caller, values)
        except SchedulerError as error:
            return _form(request, action, values, str(error), problem_of(error).status_code)
        return RedirectResponse(link_in(request.scope.get("root_path", ""), path, **parameters), 303)

    router.add_api_route(action.path, ask, methods=["GET"], response_class=HTMLResponse)
    router.add_api_route(action.path, perform, methods=["POST"], response_class=HTMLResponse)


def _given(action: Action, form: Mapping[str, Any]) -> Values:
    """What a form says, or an address, as text and of a sensible length."""
    names = (*action.parameters, *(field.name for field in action.fields))
    return text_values(names, form)


def text_values(names: tuple[str, ...], form: Mapping[str, Any]) -> dict[str, str]:
    """These fields of a form as text, "" for what is missing or a file. Raises InvalidJobError for what is too long."""
    values = {name: value if isinstance(value := form.get(name), str) else "" for name in names}
    for name, value in values.items():
        if len(value) > MOST_VALUE_CHARACTERS or "\x00" in value:
            raise InvalidJobError(f"{name} has more than {MOST_VALUE_CHARACTERS:,} characters, or a NUL: shorten it")
    return values


def _form(request: Request, action: Action, values: Values, problem: str | None, status: int) -> Response:
    shown = {name: values[name] for name in action.parameters}
    back: Place = ("/", {})
    if "id" in shown:
        back = (f"/{action.path.split('/')[1]}", {"id": shown["id"]})
    # A script asks for the form alone, to put it into a dialog.
    is_dialog = request.headers.get("hx-request") == "true"
    body = render(
        request,
        "form_part.html" if is_dialog else "form.html",
        is_dialog=is_dialog,
        title=_told(action.title, shown),
        sentences=[_told(sentence, shown) for sentence in action.sentences],
        path=action.path,
        verb=action.verb,
        fields=action.fields,
        values=values,
        hidden=shown,
        back=back,
        is_dangerous=action.is_dangerous,
        problem=problem,
    )
    return HTMLResponse(body, status)


def _told(sentence: str, values: Values) -> str:
    """A sentence with its names put in; a name that looks like a place for another one stays what it is."""
    for name, value in values.items():
        head, found, tail = sentence.partition(f"{{{name}}}")
        if found:
            return _told(head, values) + value + _told(tail, values)
    return sentence


for _action in ACTIONS:
    _add(_action)

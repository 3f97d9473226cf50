"""Callbacks that are named from outside of code: by the API, the command line, a file of jobs."""

from __future__ import annotations

import asyncio

from scheduler_core.container import Container
from scheduler_core.domain.errors import CallbackNotAllowedError
from scheduler_core.domain.jobs.callback import is_importable_reference, matches
from scheduler_core.domain.wording import shown
from scheduler_core.engine.callbacks.resolution import check_callback_name


async def require_callable(container: Container, reference: str) -> None:
    """Refuse a callback that nobody here may call: neither under `allowed_callbacks` nor known to a living replica.

    For definitions that come over the network. Raises CallbackNotAllowedError.
    """
    if matches(reference, container.settings.allowed_callbacks):
        # A module may take its time to be imported.
        await asyncio.to_thread(check_callback_name, reference)
    elif not await container.get_audit().is_callable(reference):
        raise CallbackNotAllowedError(
            f"the callback {shown(reference)} is neither under allowed_callbacks nor one that a living replica can "
            "call: name one of those"
        )


async def doubt_of(container: Container, reference: str) -> str | None:
    """What a person should know who names this callback at the machine itself; None if nothing.

    The replicas that are to call it may be started later, so that nothing is refused that leads to a function.
    Raises CallbackNotFoundError for a name that leads to what none may reach.
    """
    if is_importable_reference(reference):
        await asyncio.to_thread(check_callback_name, reference)
    if await container.get_audit().is_callable(reference) is not False:
        return None
    return (
        f"no living replica calls {shown(reference)} for a job that no code has added, and its runs wait until one "
        "does: mark the function with @callback, or allow it by allowed_callbacks"
    )

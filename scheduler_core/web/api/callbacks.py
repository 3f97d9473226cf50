"""Which callbacks a definition may name that comes over the network."""

from __future__ import annotations

import asyncio

from scheduler_core.container import Container
from scheduler_core.domain.callback import matches
from scheduler_core.domain.errors import CallbackNotAllowedError
from scheduler_core.domain.wording import shown
from scheduler_core.engine.callback_resolution import check_callback_name


async def check_callback(container: Container, reference: str) -> None:
    """Refuse a callback that nobody here may call: neither under `allowed_callbacks` nor known to a living replica.

    For definitions that come from outside of code. Raises CallbackNotAllowedError.
    """
    if matches(reference, container.settings.allowed_callbacks):
        # A module may take its time to be imported.
        await asyncio.to_thread(check_callback_name, reference)
    elif not await container.get_audit().is_callable(reference):
        raise CallbackNotAllowedError(
            f"the callback {shown(reference)} is neither under allowed_callbacks nor one that a living replica can "
            "call: name one of those"
        )

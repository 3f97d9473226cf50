"""What stands in braces in our statements: said once, the same wherever a statement is sent from."""

from __future__ import annotations

from scheduler_core.domain.runs.run import UNFINISHED, RunStatus


def _literals(statuses: set[RunStatus]) -> str:
    # In the order of the enumeration, as the partial index `runs_unfinished` has them.
    return "(" + ", ".join(f"'{status}'" for status in RunStatus if status in statuses) + ")"


# Literals, not parameters: a plan uses a partial index only if the statement itself implies its condition.
_VALUES = {
    "{unfinished}": _literals({*UNFINISHED}),
    "{finished}": _literals({*RunStatus} - UNFINISHED),
    "{waiting}": _literals({*UNFINISHED} - {RunStatus.RUNNING}),
}


def fill(template: str, schema: str) -> str:
    """A statement with its placeholders filled in.

    Parameters: template, with `{schema}`, and where it asks for them `{unfinished}` and `{finished}`, the statuses of
    runs that have not ended and that have, and `{waiting}`, of the former whose callback is not being called; schema, a
    plain identifier.
    """
    for placeholder, literal in _VALUES.items():
        template = template.replace(placeholder, literal)
    return template.replace("{schema}", f'"{schema}"')

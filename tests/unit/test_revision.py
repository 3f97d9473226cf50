"""Which schemas code works with is decided by numbers alone: here of code whose own is 0005."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from scheduler_core.domain.revision import OLDEST, UPGRADABLE, WORKABLE, Fit, explain, fit
from scheduler_core.storage.postgres import migrate

VERSIONS = Path(__file__).parents[2] / "alembic" / "versions"


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        (None, Fit.MISSING),
        ("0001", Fit.TOO_OLD),
        ("0003", Fit.TOO_OLD),
        ("0004", Fit.OLDER),
        ("0005", Fit.EXACT),
        ("0006", Fit.NEWER),
        ("0007", Fit.TOO_NEW),
        ("9999", Fit.TOO_NEW),
        ("3f2a91", Fit.TOO_NEW),
        ("", Fit.TOO_NEW),
        ("-4", Fit.TOO_NEW),
        ("٤", Fit.TOO_NEW),
    ],
)
def test_one_to_either_side_fits(current: str | None, expected: Fit) -> None:
    assert fit(current, "0005", oldest="0001") is expected


def test_one_back_fits_only_where_this_code_can_do_without_what_is_new() -> None:
    assert fit("0004", "0005", oldest="0005") is Fit.TOO_OLD
    assert fit(f"{int(OLDEST) - 1:04}", migrate.head()) is Fit.TOO_OLD


def test_numbers_are_compared_and_not_words() -> None:
    assert fit("9", "0010", oldest="0001") is Fit.OLDER
    assert fit("10000", "9999") is Fit.NEWER


def test_what_can_be_upgraded_and_what_can_be_worked_with_is_all_but_what_is_too_new() -> None:
    assert set(Fit) - {Fit.TOO_NEW} == UPGRADABLE | WORKABLE
    assert {Fit.OLDER} == UPGRADABLE & WORKABLE


@pytest.mark.parametrize(
    ("current", "words"),
    [
        (None, "run `scheduler migrate`"),
        ("0003", "run `scheduler migrate`"),
        ("0004", "waits for `scheduler migrate`"),
        ("0006", "upgrade scheduler-core here next"),
        ("0007", "upgrade scheduler-core on this machine"),
    ],
)
def test_every_answer_says_what_to_do(current: str | None, words: str) -> None:
    assert words in explain("mine", current, "0005", oldest="0001")
    assert "'mine'" in explain("mine", current, "0005", oldest="0001")


def test_revisions_are_numbered_without_gaps() -> None:
    """The decision above rests on it."""
    names = sorted(path.name for path in VERSIONS.glob("*.py"))
    assert [name.partition("_")[0] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
    for number, name in enumerate(names, 1):
        down = re.search(r"^down_revision = (.+)$", (VERSIONS / name).read_text(), re.MULTILINE)
        assert down is not None
        assert down.group(1) == ("None" if number == 1 else f'"{number - 1:04}"')
    assert migrate.head() == f"{len(names):04}"


def test_the_first_revision_runs_every_file_and_names_no_other() -> None:
    first = ScriptDirectory(VERSIONS.parent).get_revision("0001").module
    folders = {"tables": first.TABLES, "functions": first.FUNCTIONS, "views": (*first.VIEWS, *first.AUDIT_VIEWS)}
    named = [f"{folder}/{name}" for folder, names in folders.items() for name in names] + ["triggers", "roles"]
    there = [path.relative_to(first.SQL).with_suffix("").as_posix() for path in first.SQL.rglob("*.sql")]
    assert sorted(named) == sorted(there)


def test_a_semicolon_ends_a_statement_but_not_in_a_body_a_comment_or_a_string() -> None:
    first = ScriptDirectory(VERSIONS.parent).get_revision("0001").module
    script = "-- it's; so\nSELECT 'it''s; so';\nDO $$ BEGIN RETURN; END $$;\nSELECT 1"
    assert [statement.strip() for statement in first.STATEMENT.findall(script)] == [
        "-- it's; so\nSELECT 'it''s; so'",
        "DO $$ BEGIN RETURN; END $$",
        "SELECT 1",
    ]

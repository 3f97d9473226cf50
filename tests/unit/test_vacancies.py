"""Since when nobody leads: counted from the last sign of life, however often somebody stood in vain."""

from __future__ import annotations

from scheduler_core.engine.election.office import Vacancies
from scheduler_core.ports.election import LeaderRow

ROW = LeaderRow(7, "n", "dead", witnessed=True)


def test_a_vacancy_is_as_old_as_it_was_found_first() -> None:
    vacancies = Vacancies()
    assert not vacancies.is_known(ROW)
    assert vacancies.since(ROW, 100.0) == 100.0
    assert vacancies.since(ROW, 115.0) == 100.0, "the next candidacy finds it again"
    assert vacancies.is_known(ROW)


def test_an_earlier_sign_is_believed() -> None:
    """The lease tells of a silence after the witness told of a fall."""
    vacancies = Vacancies()
    vacancies.since(ROW, 100.0)
    assert vacancies.since(ROW, 98.0) == 98.0


def test_another_leaders_vacancy_is_another() -> None:
    vacancies = Vacancies()
    vacancies.since(ROW, 100.0)
    assert vacancies.since(LeaderRow(8, "m", "other", witnessed=True), 130.0) == 130.0


def test_a_leader_that_was_there_after_all_is_counted_anew() -> None:
    vacancies = Vacancies()
    vacancies.since(ROW, 100.0)
    vacancies.forget()
    assert vacancies.since(ROW, 130.0) == 130.0

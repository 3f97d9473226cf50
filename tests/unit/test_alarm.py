"""Alarms decided from facts: what opens, what closes, what is told, and that nothing is told twice or lost."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_core.domain.alerts import decision as alarm_decision
from scheduler_core.domain.alerts.alarm import (
    SHOWN_JOBS,
    AlarmKind,
    Event,
    Facts,
    FailedRuns,
    LateJob,
    OpenAlarm,
    OpenTransaction,
    Takeover,
)
from scheduler_core.domain.alerts.decision import decide, without_lateness
from scheduler_core.domain.wording import in_words

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RUN = UUID(int=1)


def late(job_id: str = "j", seconds: float = 90, reason: str = "no leader has planned it") -> LateJob:
    return LateJob(job_id, job_id.upper(), NOW - timedelta(seconds=seconds), reason)


def failed(job_id: str = "j", count: int = 1, **more: bool) -> FailedRuns:
    return FailedRuns(job_id, job_id.upper(), count, RUN, NOW, "ConnectionError: no", **more)


def opened(kind: AlarmKind, job_id: str = "j", **now: bool) -> OpenAlarm:
    return OpenAlarm(7, kind, job_id, job_id.upper(), NOW - timedelta(minutes=5), "as before", **now)


TAKEOVER = Takeover(3, "b-1", "host", NOW, "a-1", "witness fell", 0.02)


def test_a_late_job_is_overdue_by_so_much() -> None:
    changes = decide(Facts(NOW, late=[late()]))
    assert [(o.kind, o.job_id) for o in changes.opened] == [(AlarmKind.OVERDUE, "j")]
    (told,) = changes.notifications
    assert told.event is Event.OVERDUE
    assert told.text == "job j is overdue by 1 min 30 s: no leader has planned it"
    assert told.data["jobs"][0]["overdue_seconds"] == 90


def test_an_open_alarm_is_not_told_again() -> None:
    changes = decide(Facts(NOW, late=[late(reason="as before")], open=[opened(AlarmKind.OVERDUE, is_late=True)]))
    assert (changes.opened, changes.renewed, changes.closed, changes.notifications) == ((), (), (), ())


def test_an_open_alarm_says_what_its_job_waits_for_now() -> None:
    changes = decide(Facts(NOW, late=[late(reason="no callback")], open=[opened(AlarmKind.OVERDUE, is_late=True)]))
    assert [(o.detail, o.failed_runs) for o in changes.renewed] == [("no callback", 0)]
    assert (changes.opened, changes.closed, changes.notifications) == ((), (), ())


@pytest.mark.parametrize(
    ("alarm", "why"),
    [
        (opened(AlarmKind.OVERDUE), "it is not overdue any more"),
        (opened(AlarmKind.FAILURE), "a run succeeded"),
        (opened(AlarmKind.DISABLED), "it was enabled again"),
        (opened(AlarmKind.FAILURE, exists=False, is_failing=True), "the job was removed"),
    ],
)
def test_what_is_over_is_told_as_a_recovery(alarm: OpenAlarm, why: str) -> None:
    changes = decide(Facts(NOW, open=[alarm]))
    assert [c.why for c in changes.closed] == [why]
    (told,) = changes.notifications
    assert told.event is Event.RECOVERY
    assert told.data["jobs"][0]["of"] == alarm.kind.value
    assert told.data["jobs"][0]["lasted_seconds"] == 300


def test_one_that_is_less_late_than_the_limit_but_not_on_time_stays_open() -> None:
    """`is_late` says so: it is asked with half of the limit."""
    assert decide(Facts(NOW, open=[opened(AlarmKind.OVERDUE, is_late=True)])).closed == ()


def test_a_failure_is_told_once_and_counted_on() -> None:
    first = decide(Facts(NOW, failed=[failed(count=3)]))
    assert [(o.kind, o.failed_runs) for o in first.opened] == [(AlarmKind.FAILURE, 3)]
    assert first.notifications[0].text == "job j failed: ConnectionError: no"
    again = decide(Facts(NOW, failed=[failed(count=2)], open=[opened(AlarmKind.FAILURE, is_failing=True)]))
    assert [o.failed_runs for o in again.renewed] == [2]
    assert again.notifications == ()


def test_a_failure_and_a_success_in_one_look_are_told_one_after_the_other() -> None:
    """The job has recovered already when its failure is seen: the alarm opens now and closes with the next look."""
    assert [n.event for n in decide(Facts(NOW, failed=[failed()])).notifications] == [Event.FAILURE]
    news = decide(Facts(NOW, failed=[failed()], open=[opened(AlarmKind.FAILURE)]))
    assert (len(news.renewed), news.closed) == (1, ())
    assert [n.event for n in decide(Facts(NOW, open=[opened(AlarmKind.FAILURE)])).notifications] == [Event.RECOVERY]


def test_a_job_that_was_disabled_is_told_of_once_whenever_it_happens() -> None:
    at_once = decide(Facts(NOW, failed=[failed(is_disabled=True)]))
    assert {n.event for n in at_once.notifications} == {Event.FAILURE, Event.DISABLED}
    failing = opened(AlarmKind.FAILURE, is_failing=True, is_disabled=True)
    later = decide(Facts(NOW, open=[failing]))
    assert [n.event for n in later.notifications] == [Event.DISABLED]
    known = decide(Facts(NOW, open=[failing, opened(AlarmKind.DISABLED, is_disabled=True)]))
    assert known.notifications == ()


def test_a_job_that_was_enabled_and_disabled_anew_between_two_looks_is_told_of_again() -> None:
    failing = opened(AlarmKind.FAILURE, is_failing=True, is_disabled=True)
    anew = opened(AlarmKind.DISABLED, is_disabled=True, has_begun_anew=True)
    now = decide(Facts(NOW, failed=[failed(is_disabled=True)], open=[failing, anew]))
    assert [closing.why for closing in now.closed] == ["it was enabled again"]
    assert [n.event for n in now.notifications] == [Event.RECOVERY]
    assert [n.event for n in decide(Facts(NOW, open=[failing])).notifications] == [Event.DISABLED]


def test_a_job_that_is_late_in_two_ways_is_overdue_since_the_earlier() -> None:
    for given_late in ([late(seconds=40), late(seconds=90, reason="first")], [late(seconds=90), late(seconds=40)]):
        (opening,) = decide(Facts(NOW, late=given_late)).opened
        assert opening.since == NOW - timedelta(seconds=90)


def open_for_long(detail: str) -> OpenTransaction:
    return OpenTransaction(NOW - timedelta(minutes=10), detail)


def test_an_open_transaction_is_told_once_whoever_has_it_next_and_when_there_is_none() -> None:
    """A dump after the other, and what each does just now, are written down and told nobody."""
    opening = decide(Facts(NOW, transactions=[open_for_long("session 1, active")]))
    assert [note.event for note in opening.notifications] == [Event.TRANSACTION]
    standing = [OpenAlarm(7, AlarmKind.TRANSACTION, "", "an open transaction", NOW, "session 1, active")]
    others = Facts(NOW, transactions=[open_for_long("session 2, idle in transaction")], open=standing)
    assert decide(others).notifications == ()
    assert [note.event for note in decide(Facts(NOW, open=standing)).notifications] == [Event.RECOVERY]


def test_by_a_clock_in_question_nothing_is_late_or_open_for_long_and_what_was_told_stays() -> None:
    found = Facts(NOW, late=[late()], transactions=[open_for_long("since eight hours, by that clock")])
    assert decide(without_lateness(found)) == decide(Facts(NOW))
    standing = [opened(AlarmKind.OVERDUE), OpenAlarm(8, AlarmKind.TRANSACTION, "", "an open transaction", NOW, "s")]
    assert decide(without_lateness(Facts(NOW, open=standing))) == decide(Facts(NOW))


def test_a_thousand_jobs_are_one_message() -> None:
    changes = decide(Facts(NOW, late=[late(f"j{n:03}", 100 + n) for n in range(1000)], is_late_complete=False))
    assert len(changes.opened) == 1000
    (told,) = changes.notifications
    assert told.data["count"] == 1000
    assert told.data["is_complete"] is False
    assert len(told.data["jobs"]) == SHOWN_JOBS
    assert told.text.startswith("job j999 is overdue by 18 min 19 s")
    assert told.text.endswith("(and at least 999 more jobs)")
    assert len(json.dumps(told.body())) < 20_000


def test_a_takeover_is_told_with_why_and_how_long_nobody_led() -> None:
    (told,) = decide(Facts(NOW, takeovers=[TAKEOVER])).notifications
    assert told.event is Event.TAKEOVER
    assert told.text == "b-1 leads since term 3, after a-1: witness fell; nobody led for 20 ms"
    assert told.data["is_planned"] is False
    (planned,) = decide(Facts(NOW, takeovers=[replace(TAKEOVER, reason="stopped")])).notifications
    assert planned.data["is_planned"] is True


def test_the_first_term_of_all_is_no_takeover() -> None:
    assert decide(Facts(NOW, takeovers=[replace(TAKEOVER, former_instance_id=None)])).notifications == ()


def test_what_finds_no_room_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm_decision, "MAX_OPEN", 3)
    standing = [opened(AlarmKind.FAILURE, "old", is_failing=True)]
    changes = decide(Facts(NOW, failed=[failed(f"j{n}") for n in range(5)], open=standing))
    assert (len(changes.opened), changes.without_room) == (2, 3)
    assert changes.notifications[0].data["count"] == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.00042, "0.4 ms"),
        (0.02, "20 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1, "1 s"),
        (3.204, "3.2 s"),
        (42.4, "42 s"),
        (59.9, "1 min"),
        (75, "1 min 15 s"),
        (3_600, "1 h"),
        (3_661, "1 h 1 min"),
        (3_605, "1 h"),
        (200_000, "2 d 7 h"),
        (345_600, "4 d"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


ids = st.sampled_from(["a", "b", "c"])
kinds = st.sampled_from(list(AlarmKind))


@given(
    st.lists(st.tuples(ids, st.floats(31, 1e6)), max_size=6),
    st.lists(st.tuples(ids, st.booleans()), max_size=3, unique_by=lambda f: f[0]),
    st.lists(st.tuples(kinds, ids, st.booleans(), st.booleans(), st.booleans(), st.booleans()), max_size=9).map(
        lambda rows: list({row[:2]: row for row in rows}.values())
    ),
)
def test_nothing_opens_twice_and_nothing_opens_and_closes_at_once(late_jobs, failures, standing) -> None:  # type: ignore[no-untyped-def]
    alarms = [
        OpenAlarm(n, kind, job_id, job_id, NOW, "", exists, is_late, is_failing, is_disabled)
        for n, (kind, job_id, exists, is_late, is_failing, is_disabled) in enumerate(standing)
    ]
    facts = Facts(
        NOW,
        late=[late(job_id, seconds) for job_id, seconds in late_jobs],
        failed=[failed(job_id, is_disabled=disabled) for job_id, disabled in failures],
        open=alarms,
    )
    changes = decide(facts)
    opening = [(o.kind, o.job_id) for o in changes.opened]
    assert len(opening) == len(set(opening))
    assert not set(opening) & {(a.kind, a.job_id) for a in alarms}
    assert not {(c.alarm.kind, c.alarm.job_id) for c in changes.closed} & {
        *opening,
        *((r.kind, r.job_id) for r in changes.renewed),
    }
    told = {job["job_id"] for n in changes.notifications if n.event is not Event.RECOVERY for job in n.data["jobs"]}
    assert told == {job_id for _, job_id in opening}, "what opens is told, and nothing else"
    news = {(o.kind, o.job_id) for o in (*changes.opened, *changes.renewed)}
    assert all((AlarmKind.FAILURE, job_id) in news for job_id, _ in failures), "no failure is lost"

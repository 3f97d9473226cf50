"""Calendars: what they exclude, in every zone, found by edges; and against a plain walk with `zoneinfo`."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_core import Calendar, InvalidCalendarError, ScheduleJob, next_fires
from scheduler_core.cli.exit_codes import exit_code_of
from scheduler_core.domain.calendars.calendars import Exclusions
from scheduler_core.domain.calendars.countries import country_calendar, parse_years
from scheduler_core.domain.calendars.fields import WEEKDAYS, parse_dates
from scheduler_core.domain.planning.segments import TICK, allowed_occurrences, occurrence_at, segments
from scheduler_core.domain.schedule import parse_schedule
from scheduler_core.domain.schedule.zone import find_zone

CHRISTMAS = date(2026, 12, 25)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "Pacific/Kiritimati",
    "Pacific/Apia",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Africa/Casablanca",
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_date_is_a_day_of_the_jobs_zone() -> None:
    calendar = Calendar("c", [CHRISTMAS])
    assert not calendar.allows(at("2026-12-25T00:00+01:00"), "Europe/Berlin")
    assert calendar.allows(at("2026-12-25T00:00+01:00"), "UTC")
    assert not calendar.allows(at("2026-12-25T23:59:59.999999+01:00"), "Europe/Berlin")
    assert calendar.allows(at("2026-12-26T00:00+01:00"), "Europe/Berlin")
    assert not calendar.allows(at("2026-12-26T00:00+01:00"), "America/New_York")


def test_business_days_leave_weekdays_that_are_no_holidays() -> None:
    calendar = Calendar.business_days("b", [CHRISTMAS])
    days = [date(2026, 12, 21) + timedelta(days=n) for n in range(7)]
    allowed = [
        day.isoformat() for day in days if calendar.allows(datetime(*day.timetuple()[:3], 12, tzinfo=UTC), "UTC")
    ]
    assert allowed == ["2026-12-21", "2026-12-22", "2026-12-23", "2026-12-24"]


def test_a_period_begins_with_its_first_instant_and_ends_before_its_last() -> None:
    start, until = at("2026-12-24T17:00+00:00"), at("2026-12-24T18:00+00:00")
    calendar = Calendar("c", excluded_periods=[(start, until)])
    assert calendar.allows(start - TICK, "UTC")
    assert not calendar.allows(start, "UTC")
    assert not calendar.allows(until - TICK, "UTC")
    assert calendar.allows(until, "UTC")


def test_two_calendars_that_mean_the_same_are_equal() -> None:
    one = Calendar(
        "c",
        ["2026-12-26", CHRISTMAS],
        ["Sunday", "sat", "sat"],
        [(at("2026-01-01T02:00+01:00"), at("2026-01-01T03:00+01:00")), ("2026-01-01T00:00Z", "2026-01-01T01:00Z")],
    )
    two = Calendar(
        "c", {CHRISTMAS: "", date(2026, 12, 26): ""}, ("sat", "sun"), [("2026-01-01T00:00Z", "2026-01-01T02:00Z")]
    )
    assert one == two
    assert hash(one) == hash(two)
    assert one.excluded_periods == ((at("2026-01-01T00:00+00:00"), at("2026-01-01T02:00+00:00")),)


def test_calendars_are_united_and_taken_from_each_other() -> None:
    holidays = Calendar("c", {CHRISTMAS: "Christmas Day"}, ["sun"], note="old")
    more = Calendar("other", [CHRISTMAS, "2027-01-01"], ["sat"], note="new")
    both = holidays.united(more)
    assert both.name == "c"
    assert both.excluded_dates == {CHRISTMAS: "Christmas Day", date(2027, 1, 1): ""}
    assert (both.excluded_weekdays, both.note) == (("sat", "sun"), "new")
    assert both.without(more) == Calendar("c", (), ["sun"], note="new")


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"name": "a\nb"}, "control"),
        ({"excluded_dates": ["2026-02-30"]}, "2026-02-30"),
        ({"excluded_dates": "2026-12-25"}, "list of dates"),
        ({"excluded_dates": [at("2026-12-25T00:00Z")]}, "is no date"),
        ({"excluded_dates": [date(1, 1, 1)]}, "1900"),
        ({"excluded_dates": {CHRISTMAS: 5}}, "give a string"),
        ({"excluded_dates": [date.fromordinal(700_000 + n) for n in range(20_001)]}, "more than"),
        ({"excluded_weekdays": ["caturday"]}, "caturday"),
        ({"excluded_weekdays": [6]}, "give some of"),
        ({"excluded_weekdays": WEEKDAYS}, "all seven"),
        ({"excluded_periods": [("2026-01-02T00:00Z", "2026-01-01T00:00Z")]}, "later end"),
        ({"excluded_periods": [("2026-01-01T00:00", "2026-01-02T00:00")]}, "time zone"),
        ({"excluded_periods": ["2026-01-01T00:00Z"]}, "pairs"),
        ({"excluded_periods": 5}, "list of periods"),
        ({"note": "a\x00"}, "note"),
    ],
)
def test_what_can_not_be_a_calendar_says_why_in_one_line(given_: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidCalendarError, match=says) as caught:
        Calendar(**{"name": "c", **given_})
    assert "\n" not in str(caught.value)
    assert exit_code_of(caught.value) == 2


def test_a_file_of_dates_is_read_with_names_comments_and_blank_lines() -> None:
    text = (
        "\ufeff# closed\n\n2026-12-25 Christmas Day\r\n2026-12-26\n 2027-01-01,New Year's Day \n2027-05-01 # May Day\n"
    )
    assert parse_dates(text) == {
        CHRISTMAS: "Christmas Day",
        date(2026, 12, 26): "",
        date(2027, 1, 1): "New Year's Day",
        date(2027, 5, 1): "May Day",
    }
    with pytest.raises(InvalidCalendarError, match=r"line 2: '25\.12\.2026'"):
        parse_dates("2026-12-24\n25.12.2026")
    with pytest.raises(InvalidCalendarError, match="line 1: '2026-02-30'"):
        parse_dates("2026-02-30")
    with pytest.raises(InvalidCalendarError, match="no date"):
        parse_dates("# nothing")


def test_a_country_gives_its_holidays_and_its_weekend() -> None:
    calendar = country_calendar("de", "de", subdivision="BE", years=parse_years("2026-2027"), business_days=True)
    assert calendar.excluded_dates[date(2026, 3, 8)] == "Frauentag", "Berlin's, in the country's own language"
    assert calendar.excluded_dates[date(2027, 10, 3)] == "Tag der Deutschen Einheit"
    assert {day.year for day in calendar.excluded_dates} == {2026, 2027}
    assert calendar.excluded_weekdays == ("sat", "sun")
    assert calendar.note is not None
    assert "DE-BE, 2026 to 2027" in calendar.note
    english = country_calendar("de", "DE", years=[2026], language="en_US")
    assert english.excluded_dates[CHRISTMAS] == "Christmas Day"
    assert country_calendar("eg", "EG", years=[2026], business_days=True).excluded_weekdays == ("fri", "sat")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"country": "XX"}, "no country 'XX'"),
        ({"country": ""}, "no country"),
        ({"subdivision": "ZZ"}, "no subdivision 'ZZ': it has BB"),
        ({"language": "tlh"}, "no names in the language 'tlh'"),
        ({"years": []}, "years"),
        ({"years": [3000]}, "years"),
    ],
)
def test_a_country_that_is_not_there_says_what_there_is(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidCalendarError, match=says):
        country_calendar(**{"name": "c", "country": "DE", "years": [2026], **options})


@pytest.mark.parametrize("text", ["", "x", "2026-", "-2026", "2026-2030-2031", "20260"])
def test_years_that_can_not_be_read(text: str) -> None:
    with pytest.raises(InvalidCalendarError, match="years"):
        parse_years(text)


def test_next_fires_applies_the_calendars_it_is_given_and_ignores_the_others() -> None:
    job = ScheduleJob("j", "J", "daily", "12:00", "app:f", timezone="UTC", calendars=["business", "elsewhere"])
    thursday = at("2026-12-24T13:00+00:00")
    assert next_fires(job, thursday, 1) == [at("2026-12-25T12:00+00:00")]
    calendars = [Calendar.business_days("business", [CHRISTMAS]), Calendar("unnamed", ["2026-12-28"])]
    assert next_fires(job, thursday, 1, calendars=calendars) == [at("2026-12-28T12:00+00:00")]


def test_a_schedule_and_a_calendar_that_exclude_each_other_for_ever_end_the_search() -> None:
    job = ScheduleJob("j", "J", "cron", "0 12 * * sat", "app:f", timezone="UTC", calendars=["business"])
    assert next_fires(job, at("2026-01-01T00:00+00:00"), 3, calendars=[Calendar.business_days("business")]) == []


def test_a_clock_that_goes_back_over_midnight_shows_a_day_twice() -> None:
    """St. John's, 2006-10-29 00:01 became 2006-10-28 23:01: the 28th is excluded again, the 29th has two parts."""
    exclusions = Exclusions((Calendar("c", ["2006-10-28"]),), find_zone("America/St_Johns"))
    midnight = datetime(2006, 10, 29, 0, 0, tzinfo=ZoneInfo("America/St_Johns")).astimezone(UTC)
    edges = [midnight - timedelta(hours=1)]
    for _ in range(3):
        edges.append(exclusions.edge_after(edges[-1], midnight + timedelta(days=2)))
    assert edges[1:] == [midnight, midnight + timedelta(minutes=1), midnight + timedelta(hours=1)]


calendars = st.builds(
    Calendar,
    st.just("c"),
    st.lists(st.dates(date(2006, 10, 20), date(2006, 11, 10)), max_size=8),
    st.lists(st.sampled_from(WEEKDAYS), max_size=4),
    st.lists(
        st.tuples(st.integers(0, 20 * 1440), st.integers(1, 3000)).map(
            lambda p: (START + timedelta(minutes=p[0]), START + timedelta(minutes=p[0] + p[1]))
        ),
        max_size=4,
    ),
)
START = datetime(2006, 10, 20, tzinfo=UTC)
schedules = st.sampled_from(
    [
        ("interval", 3600),
        ("interval", 7000),
        ("daily", ["02:30", "23:30"]),
        ("cron", "15 */6 * * *"),
        ("cron", "0 9 1 * *"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(calendars, max_size=3), st.sampled_from(ZONES), schedules, st.integers(0, 20 * 24), st.integers(1, 500))
def test_segments_are_what_a_plain_walk_finds(
    named: list[Calendar], zone: str, schedule: tuple[str, Any], from_hour: int, hours: int
) -> None:
    """The walk asks `zoneinfo` for each occurrence's date and shares no code with the edges and counts."""
    exclusions = Exclusions(tuple(named), find_zone(zone))
    found = parse_schedule(schedule[0], schedule[1], timezone=zone, anchor=START)  # type: ignore[arg-type]
    cursor = found.next_after(START + timedelta(hours=from_hour))
    assert cursor is not None
    before = cursor + timedelta(hours=hours)

    def walked_out(instant: datetime) -> bool:
        local = instant.astimezone(ZoneInfo(zone)).date()
        return any(
            local in c.excluded_dates
            or WEEKDAYS[local.weekday()] in c.excluded_weekdays
            or any(start <= instant < until for start, until in c.excluded_periods)
            for c in named
        )

    instants: list[datetime] = []
    at_: datetime | None = cursor
    while at_ is not None and at_ < before:
        instants.append(at_)
        at_ = found.next_after(at_)
    assert [exclusions.excludes(instant) for instant in instants] == [walked_out(instant) for instant in instants]

    made = list(segments(found, exclusions, cursor, before))
    walk = iter(instants)
    for segment in made:
        members = [next(walk) for _ in range(segment.count)]
        assert (members[0], members[-1]) == (segment.first, segment.last)
        assert {walked_out(member) for member in members} == {segment.excluded}
        assert occurrence_at(found, segment.first, segment.count - 1, segment.last) == segment.last
    assert next(walk, None) is None
    assert all(one.excluded != two.excluded for one, two in itertools.pairwise(made))

    allowed = list(allowed_occurrences(found, exclusions, cursor, before - TICK))
    assert [instant for instant, _ in allowed] == [instant for instant in instants if not walked_out(instant)]
    assert sum(left_out for _, left_out in allowed) <= len(instants) - len(allowed)

"""Random definitions, drawn near a change of the clock, from a seed: the same seed gives the same definitions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from .expression import MONTHS, NICKNAMES, WEEKDAYS
from .occurrences import Definition
from .walk import MINUTE, Walk

DST = ("once", "skip", "both")
_INTERVALS = (1, 7, 30, 45, 60, 61, 300, 333, 900, 1800, 3600, 5400, 7200, 86_400, 100_000)


def draw(random: Random, walk: Walk, near: datetime) -> Definition:
    """A definition of any kind whose occurrences are whole steps of the walk; `near` is where it gets interesting."""
    by_second = walk.step < MINUTE
    kind = random.choices(("cron", "daily", "interval", "once"), (70, 15, 8, 7))[0]
    local = near.astimezone(ZoneInfo(walk.zone)).replace(tzinfo=None)
    if walk.unusual and random.random() < 0.6:
        local = random.choice(walk.unusual)
    match kind:
        case "cron":
            value: object = draw_expression(random, local, by_second=by_second)
        case "daily":
            value = _daily(random, local, by_second=by_second)
        case "interval":
            value = random.choice([step for step in _INTERVALS if by_second or step % 60 == 0])
        case _:
            value = _moment(random, walk) if random.random() < 0.9 else None
    start_at, end_at = (_moment(random, walk) if random.random() < 0.2 else None for _ in range(2))
    anchor = walk.after if random.random() < 0.5 else random.choice(walk.counted).instant
    return Definition(kind, value, walk.zone, anchor, random.choice(DST), start_at, end_at)


def draw_expression(random: Random, local: datetime, *, by_second: bool) -> str:
    """A valid expression, or one whose date no year has."""
    if random.random() < 0.04:
        return random.choice([*NICKNAMES, "@Daily", "@HOURLY"])
    fields = [_minute(random), _hour(random, local), *_date(random, local)]
    if by_second and random.random() < 0.8:
        fields.insert(0, _minute(random))
    text = (" " if random.random() < 0.9 else "  ").join(fields)
    return text.lower() if random.random() < 0.2 else text


def _minute(random: Random) -> str:
    return random.choice(["*", "0", "0", "30", str(random.randrange(60)), _field(random, 0, 59)])


def _hour(random: Random, local: datetime) -> str:
    near = (local.hour + random.choice((-3, -2, -1, 0, 0, 0, 0, 1, 2))) % 24
    return random.choice(["*", str(near), str(near), str(near), f"{near},{(near + 1) % 24}", _field(random, 0, 23)])


def _date(random: Random, local: datetime) -> tuple[str, str, str]:
    """Day, month and weekday: every day, the day of the change, or anything."""
    chance = random.random()
    if chance < 0.4:
        return "*", "*", "*"
    day = local + timedelta(days=random.choice((-1, 0, 0, 0, 1)))
    name = list(WEEKDAYS)[day.isoweekday() % 7]
    if chance < 0.7:
        month = random.choice(["*", str(day.month), list(MONTHS)[day.month - 1]])
        which = (day.day + 6) // 7
        return random.choice(
            [
                (str(day.day), month, "*"),
                ("*", month, name),
                ("*", month, f"{name}#{which}"),
                ("*", month, f"{day.isoweekday()}L"),
                ("L", month, "*"),
                ("LW", month, "*"),
                (f"{day.day},L", month, f"{name}#{which},{day.isoweekday()}L"),
                (f"*/{random.randint(1, 31)}", month, name),
            ]
        )
    weekday = random.choice(["*", "*", _field(random, 0, 7), _field(random, 0, 6, list(WEEKDAYS)), _nth(random)])
    day_of_month = random.choice(["*", "*", _field(random, 1, 31), "L", "LW", f"L,{_field(random, 1, 31)}"])
    return day_of_month, random.choice(["*", _field(random, 1, 12), _field(random, 1, 12, list(MONTHS))]), weekday


def _nth(random: Random) -> str:
    day = random.choice([str(random.randint(0, 7)), *WEEKDAYS])
    terms = [f"{day}#{random.randint(1, 5)}", f"{random.randint(0, 7)}L", str(random.randint(0, 7))]
    return ",".join(random.sample(terms, random.randint(1, 3)))


def _field(random: Random, least: int, most: int, names: list[str] | None = None) -> str:
    return ",".join(_term(random, least, most, names) for _ in range(random.choice((1, 1, 1, 2, 3))))


def _term(random: Random, least: int, most: int, names: list[str] | None) -> str:
    def shown(number: int) -> str:
        return names[number - least] if names and random.random() < 0.8 else str(number)

    low, high = sorted(random.sample(range(least, most + 1), 2))
    step = random.randint(1, most)
    return random.choice(
        [
            "*",
            shown(low),
            shown(high),
            f"{shown(low)}-{shown(high)}",
            f"{shown(low)}-{shown(low)}",
            f"{shown(low)}-{shown(low)}/{step}",
            f"{shown(low)}-{shown(high)}/{step}",
            f"{shown(low)}/{step}",
            f"*/{step}",
        ]
    )


def _daily(random: Random, local: datetime, *, by_second: bool) -> object:
    def time() -> str:
        hour = random.choice([local.hour, local.hour, local.hour - 1, local.hour + 1, random.randrange(24)]) % 24
        minute = random.choice([0, 30, local.minute, random.randrange(60)])
        return f"{hour:02}:{minute:02}" + (f":{random.randrange(60):02}" if by_second else "")

    return time() if random.random() < 0.6 else [time() for _ in range(random.randint(1, 6))]


def _moment(random: Random, walk: Walk) -> datetime:
    """An instant of the walk, aware or as a naive wall time, sometimes one that the clock skipped."""
    step = random.choice(walk.counted)
    if random.random() < 0.5:
        return step.instant.astimezone(random.choice([UTC, ZoneInfo("Asia/Kolkata")]))
    jumps = [step.skipped for step in walk.counted if step.skipped]
    if jumps and random.random() < 0.5:
        return random.choice(random.choice(jumps))
    return step.wall

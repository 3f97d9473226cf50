"""Daily tables, partitions, summaries and their removal, on real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container, SchedulerError, Summary, TableFamily, TableScheduler
from scheduler_core.domain.tables.steps import leaving, read_record
from scheduler_core.engine.operations.tables import cleanup, creation, summing

Sql = psycopg.Connection[Any]
COLUMNS = {"player": "bigint NOT NULL", "score": "integer NOT NULL", "at": "timestamptz NOT NULL DEFAULT now()"}


@pytest.fixture
async def families(container: Container) -> AsyncIterator[type[TableScheduler]]:
    await container.prepare()
    yield TableScheduler
    for family in TableScheduler.families():
        TableScheduler.unregister(family.name, family.schema)


def parted(**changes: Any) -> TableFamily:
    return TableFamily("log", **{"columns": COLUMNS, "partitioned": True, "time_column": "at", **changes})


def tables(sql: Sql, prefix: str) -> list[str]:
    rows = sql.execute(
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = 'public' AND relkind IN ('r', 'p') AND starts_with(relname, %s) ORDER BY 1",
        [prefix],
    )
    return [name for (name,) in rows.fetchall()]


def partitions(sql: Sql, parent: str) -> list[str]:
    rows = sql.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass AND NOT inhdetachpending "
        "ORDER BY 1",
        [parent],
    )
    return [name for (name,) in rows.fetchall()]


def today(sql: Sql) -> date:
    return sql.execute("SELECT clock_timestamp()").fetchone()[0].astimezone(UTC).date()  # type: ignore[index,no-any-return]


def add_partition(sql: Sql, family: TableFamily, day: date) -> str:
    name = family.daily_table(day)
    after = day + timedelta(days=1)
    sql.execute(
        f"CREATE TABLE public.{name} PARTITION OF public.{family.name} "
        f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{after} 00:00:00+00')"
    )
    return name


def one(sql: Sql, query: str, *parameters: Any) -> Any:
    row = sql.execute(query, parameters).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


# Creating.


async def test_daily_tables_are_created_ahead_and_only_once(families: type[TableScheduler], sql: Sql) -> None:
    families.register(TableFamily("log", columns=COLUMNS, days_ahead=2))
    created = await families.create_daily_tables()
    assert [name for name in created if name.startswith("log")] == tables(sql, "log_")
    assert len(tables(sql, "log_")) == 3
    assert await families.create_daily_tables() == []


@pytest.mark.parametrize("partitioned", [False, True])
async def test_callers_at_the_same_moment_do_the_work_once(
    families: type[TableScheduler], sql: Sql, partitioned: bool
) -> None:
    families.register(parted(days_ahead=5) if partitioned else TableFamily("log", columns=COLUMNS, days_ahead=5))
    created = await asyncio.gather(*(families.create_daily_tables() for _ in range(5)))
    assert sorted(name for names in created for name in names) == sorted(set(tables(sql, "log_")))
    assert len(tables(sql, "log_")) == 6


async def test_a_template_is_copied(families: type[TableScheduler], sql: Sql) -> None:
    """Defaults, keys, checks, indexes, identity and generated columns; not foreign keys."""
    sql.execute("CREATE TABLE public.players (id bigint PRIMARY KEY)")
    sql.execute(
        "CREATE TABLE public.template (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, serial bigserial, "
        "score int CHECK (score > 0), twice int GENERATED ALWAYS AS (score * 2) STORED, note text DEFAULT 'x', "
        "player bigint REFERENCES public.players)"
    )
    sql.execute("CREATE INDEX ON public.template (note)")
    families.register(TableFamily("copy", like="template", days_ahead=1))
    await families.create_daily_tables()
    first, second = tables(sql, "copy_")
    for name in (first, second):
        sql.execute(f"INSERT INTO public.{name} (score, player) VALUES (3, 77)")
        assert sql.execute(f"SELECT id, twice, note FROM public.{name}").fetchone() == (1, 6, "x")
        with pytest.raises(psycopg.errors.CheckViolation):
            sql.execute(f"INSERT INTO public.{name} (score) VALUES (-1)")
        assert one(sql, "SELECT count(*) FROM pg_indexes WHERE tablename = %s", name) == 2
    # A sequence of its own per identity column; one in common behind a serial's default.
    assert one(sql, f"SELECT serial FROM public.{first}") < one(sql, f"SELECT serial FROM public.{second}")


async def test_partitions_share_keys_identity_and_foreign_keys_with_their_parent(
    families: type[TableScheduler], sql: Sql
) -> None:
    sql.execute("CREATE TABLE public.players (id bigint PRIMARY KEY)")
    sql.execute("INSERT INTO public.players VALUES (1)")
    sql.execute(
        "CREATE TABLE public.log (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, "
        "player bigint REFERENCES public.players, twice bigint GENERATED ALWAYS AS (player * 2) STORED, "
        "PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"
    )
    families.register(parted(columns=None, like="log"))
    await families.create_daily_tables()
    sql.execute("INSERT INTO public.log (at, player) VALUES (now(), 1), (now() + interval '1 day', 1)")
    assert sql.execute("SELECT id, twice FROM public.log ORDER BY id").fetchall() == [(1, 2), (2, 2)]
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        sql.execute("INSERT INTO public.log (at, player) VALUES (now(), 99)")
    assert len(partitions(sql, "public.log")) == 4


@pytest.mark.parametrize("kind", ["date NOT NULL", "timestamp NOT NULL", "timestamptz NOT NULL"])
async def test_days_are_utc_whatever_the_column_and_the_session(
    families: type[TableScheduler], sql: Sql, kind: str
) -> None:
    sql.execute(f"ALTER DATABASE \"{sql.info.dbname}\" SET timezone TO 'Asia/Kolkata'")
    families.register(parted(columns={"at": kind}, days_ahead=1))
    created = [name for name in await families.create_daily_tables() if name.startswith("log_")]
    assert created == tables(sql, "log_")
    assert await families.create_daily_tables() == []
    for name in created:
        day = datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC)
        sql.execute("SET timezone TO 'UTC'")
        sql.execute("INSERT INTO public.log (at) VALUES (%s)", [day if "tz" in kind else day.replace(tzinfo=None)])
        assert one(sql, f"SELECT count(*) FROM public.{name}") == 1


async def test_the_longest_names_fit(families: type[TableScheduler], sql: Sql) -> None:
    """Postgres cuts a name off at 63 bytes without a word."""
    name = "n" * 40
    families.register(TableFamily(name, columns=COLUMNS, days_ahead=0, summary={"n": "count(*)"}))
    (daily,) = [t for t in await families.create_daily_tables() if t.startswith(name)]
    (summary,) = await families.create_monthly_summary_tables()
    assert tables(sql, name) == sorted([daily, summary])


async def test_a_name_that_is_taken_is_said_and_the_rest_is_created(families: type[TableScheduler], sql: Sql) -> None:
    taken = TableFamily("log", columns=COLUMNS).daily_table(today(sql))
    sql.execute(f"CREATE VIEW public.{taken} AS SELECT 1 AS one")
    families.register(TableFamily("log", columns=COLUMNS, days_ahead=2))
    with pytest.raises(SchedulerError, match=f"{taken} exists and is a view: rename it"):
        await families.create_daily_tables()
    assert len(tables(sql, "log_")) == 2


async def test_one_family_that_fails_leaves_the_others_theirs(families: type[TableScheduler], sql: Sql) -> None:
    families.register(TableFamily("copy", like="not_there"))
    families.register(TableFamily("log", columns=COLUMNS, days_ahead=0))
    with pytest.raises(SchedulerError, match=r"copy_\d+: Postgres refused it .*not_there.*correct the family"):
        await families.create_daily_tables()
    assert len(tables(sql, "log_")) == 1


async def test_the_schedulers_own_schema_is_its_own(families: type[TableScheduler], sql: Sql) -> None:
    """Or its history could be dropped by a family of the same name."""
    families.register(TableFamily("runs", columns=COLUMNS, schema="scheduler", retention_days=1))
    families.register(TableFamily("log", columns=COLUMNS, days_ahead=0))
    for verb in (families.create_daily_tables, families.cleanup_old_tables):
        with pytest.raises(SchedulerError, match=r"scheduler\.runs: the schema is the scheduler's own"):
            await verb()
    assert len(tables(sql, "log_")) == 1
    assert one(sql, "SELECT retention_days FROM scheduler.table_families WHERE family = 'runs'") == 30


async def test_a_parent_that_is_no_partitioned_table_is_said(families: type[TableScheduler], sql: Sql) -> None:
    sql.execute("CREATE TABLE public.log (at timestamptz)")
    families.register(parted())
    with pytest.raises(SchedulerError, match=r"public\.log exists and is a table"):
        await families.create_daily_tables()


async def test_an_orphan_of_the_days_name_is_attached_with_its_rows(families: type[TableScheduler], sql: Sql) -> None:
    family = parted(days_ahead=0)
    families.register(family)
    await families.create_daily_tables()
    name = family.daily_table(today(sql))
    sql.execute("INSERT INTO public.log (player, score) VALUES (1, 2)")
    sql.execute(f"ALTER TABLE public.log DETACH PARTITION public.{name}")
    assert await families.create_daily_tables() == [name]
    assert one(sql, "SELECT count(*) FROM public.log") == 1
    assert one(sql, "SELECT count(*) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'", name) == 0


async def test_an_orphan_with_rows_of_other_days_is_refused_and_stays(families: type[TableScheduler], sql: Sql) -> None:
    family = parted(days_ahead=1)
    families.register(family)
    await families.create_daily_tables()
    name = family.daily_table(today(sql))
    sql.execute(f"ALTER TABLE public.log DETACH PARTITION public.{name}")
    sql.execute(f"INSERT INTO public.{name} (player, score, at) VALUES (1, 2, '2001-01-01')")
    with pytest.raises(SchedulerError, match=name):
        await families.create_daily_tables()
    assert one(sql, f"SELECT count(*) FROM public.{name}") == 1
    assert len(partitions(sql, "public.log")) == 1


async def test_writers_go_on_while_partitions_come_and_go(
    families: type[TableScheduler], sql: Sql, database_url: str
) -> None:
    """A transaction that writes to the parent and stays open neither waits nor is waited for by CREATE and ATTACH."""
    family = parted(days_ahead=1)
    families.register(family)
    await families.create_daily_tables()
    with psycopg.connect(database_url) as writer:
        writer.execute("SET lock_timeout = '2s'")
        writer.execute("INSERT INTO public.log (player, score) VALUES (1, 2)")
        families.register(parted(days_ahead=3))
        assert len(await families.create_daily_tables()) == 2
        writer.execute("INSERT INTO public.log (player, score) VALUES (1, 2)")


async def test_rows_in_a_default_partition_are_said(families: type[TableScheduler], sql: Sql) -> None:
    sql.execute("CREATE TABLE public.log (player bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at)")
    sql.execute("CREATE TABLE public.log_rest PARTITION OF public.log DEFAULT")
    sql.execute("INSERT INTO public.log VALUES (1, now())")
    families.register(parted(columns=None, like="log", days_ahead=1))
    with pytest.raises(SchedulerError, match="log_rest"):
        await families.create_daily_tables()
    assert len(partitions(sql, "public.log")) == 2, "tomorrow's is there all the same"


# Dropping.


async def test_partitions_take_rows_of_their_day_and_leave_whole(families: type[TableScheduler], sql: Sql) -> None:
    """xxl-job #1140, deleting history row by row."""
    family = parted(retention_days=7)
    families.register(family)
    await families.create_daily_tables()
    sql.execute("INSERT INTO public.log (player, score) VALUES (1, 2)")
    kept = add_partition(sql, family, today(sql) - timedelta(days=7))
    day = add_partition(sql, family, today(sql) - timedelta(days=8))
    assert await families.cleanup_old_tables() == [day]
    assert day not in tables(sql, "log_")
    assert kept in partitions(sql, "public.log")
    assert one(sql, "SELECT count(*) FROM public.log") == 1
    assert await families.cleanup_old_tables() == []


async def test_cleanup_takes_only_what_is_the_familys(families: type[TableScheduler], sql: Sql) -> None:
    sql.execute(
        "CREATE TABLE public.log_archive_20200101 (n int); CREATE TABLE public.log_20201301 (n int); "
        "CREATE TABLE public.log_20200101_old (n int); CREATE TABLE public.log_x_20200101 (n int); "
        "CREATE VIEW public.log_20200102 AS SELECT 1 AS n; CREATE TABLE public.log_summary_202001 (n int); "
        "CREATE TABLE public.log_20200103 (n int)"
    )
    before = tables(sql, "log_")
    families.register(TableFamily("log", columns=COLUMNS, retention_days=1, summary_retention_months=1))
    assert await families.cleanup_old_tables() == ["log_20200103"]
    assert tables(sql, "log_") == [name for name in before if name != "log_20200103"]


async def test_a_partition_that_somebody_detached_is_kept(families: type[TableScheduler], sql: Sql) -> None:
    family = parted(retention_days=7)
    families.register(family)
    await families.create_daily_tables()
    archived = add_partition(sql, family, today(sql) - timedelta(days=90))
    sql.execute(f"ALTER TABLE public.log DETACH PARTITION public.{archived}")
    assert await families.cleanup_old_tables() == []
    assert archived in tables(sql, "log_")


async def test_a_table_that_others_depend_on_stays_and_is_said(families: type[TableScheduler], sql: Sql) -> None:
    """Never CASCADE."""
    sql.execute("CREATE TABLE public.log_20200101 (n int); CREATE TABLE public.log_20200102 (n int)")
    sql.execute("CREATE VIEW public.report AS SELECT * FROM public.log_20200101")
    families.register(TableFamily("log", columns=COLUMNS))
    with pytest.raises(SchedulerError, match=r"log_20200101.*depend"):
        await families.cleanup_old_tables()
    assert tables(sql, "log_") == ["log_20200101"]


async def test_a_table_in_use_is_dropped_when_it_is_free_and_the_rest_at_once(
    families: type[TableScheduler], sql: Sql, database_url: str
) -> None:
    """tycho PR #1323, a lost race for a lock."""
    family = TableFamily("log", columns=COLUMNS, retention_days=1)
    families.register(family)
    used, free = (family.daily_table(today(sql) - timedelta(days=n)) for n in (4, 3))
    for name in (used, free):
        sql.execute(f"CREATE TABLE public.{name} (player bigint)")
    reader = psycopg.connect(database_url)
    reader.execute(f"SELECT * FROM public.{used}")
    dropping = asyncio.create_task(families.cleanup_old_tables())

    async def only_the_used_one_is_left() -> bool:
        return tables(sql, "log_") == [used]

    await eventually_async(only_the_used_one_is_left)
    assert not dropping.done()
    reader.close()
    assert await dropping == [free, used]


async def test_a_drop_never_has_the_application_queue_behind_it(
    families: type[TableScheduler], sql: Sql, database_url: str
) -> None:
    """Who waits for an exclusive lock has everybody wait behind him: so nobody here waits for long."""
    family = TableFamily("log", columns=COLUMNS, retention_days=1)
    families.register(family)
    used = family.daily_table(today(sql) - timedelta(days=4))
    sql.execute(f"CREATE TABLE public.{used} (player bigint)")
    with psycopg.connect(database_url) as holder, psycopg.connect(database_url, autocommit=True) as reader:
        holder.execute(f"SELECT * FROM public.{used}")
        dropping = asyncio.create_task(families.cleanup_old_tables())

        async def somebody_waits() -> bool:
            return bool(one(sql, "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"))

        await eventually_async(somebody_waits)
        reader.execute("SET statement_timeout = '20s'")
        await asyncio.to_thread(reader.execute, f"SELECT count(*) FROM public.{used}")
        assert used in tables(sql, "log_"), "the reader did not wait for the holder to end"
    await dropping


async def test_a_detach_that_was_cut_off_is_finished(
    families: type[TableScheduler], sql: Sql, database_url: str
) -> None:
    """An outdated partition goes for good; one of a day to come is attached again with its rows."""
    family = parted(retention_days=7, days_ahead=1)
    families.register(family)
    await families.create_daily_tables()
    old = add_partition(sql, family, today(sql) - timedelta(days=30))
    sql.execute("INSERT INTO public.log (player, score) VALUES (1, 2)")
    for name, verb in (
        (old, families.cleanup_old_tables),
        (family.daily_table(today(sql)), families.create_daily_tables),
    ):
        cut_off_detach(database_url, "public.log", f"public.{name}")
        assert one(sql, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == 1
        assert await verb() == [name]
        assert one(sql, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == 0
    assert old not in tables(sql, "log_")
    assert one(sql, "SELECT count(*) FROM public.log") == 1


def cut_off_detach(database_url: str, parent: str, partition: str) -> None:
    """DETACH CONCURRENTLY waits for whoever uses the parent; there it is cut off."""
    with psycopg.connect(database_url) as user, psycopg.connect(database_url, autocommit=True) as operator:
        user.execute(f"SELECT count(*) FROM {parent}")  # type: ignore[arg-type]
        operator.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            operator.execute(f"ALTER TABLE {parent} DETACH PARTITION {partition} CONCURRENTLY")  # type: ignore[arg-type]


async def test_somebody_elses_pending_detach_delays_ours_and_is_not_touched(
    families: type[TableScheduler], sql: Sql, database_url: str
) -> None:
    family = parted(retention_days=7)
    families.register(family)
    await families.create_daily_tables()
    theirs = add_partition(sql, family, today(sql) - timedelta(days=5))
    ours = add_partition(sql, family, today(sql) - timedelta(days=30))
    cut_off_detach(database_url, "public.log", f"public.{theirs}")
    cleaning = asyncio.create_task(families.cleanup_old_tables())

    async def ours_is_tried() -> bool:
        return one(sql, "SELECT obj_description(%s::regclass)", f"public.{ours}") is not None

    await eventually_async(ours_is_tried)
    assert one(sql, "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = %s::regclass", f"public.{theirs}")
    # Beside this loop: it waits for every transaction, and the cleaning, in this loop, may be within one.
    await asyncio.to_thread(sql.execute, f"ALTER TABLE public.log DETACH PARTITION public.{theirs} FINALIZE")  # type: ignore[arg-type]
    assert await cleaning == [ours]
    assert theirs in tables(sql, "log_"), "detached by its operator, and kept"


async def test_a_drop_that_was_cut_off_after_detaching_is_finished(families: type[TableScheduler], sql: Sql) -> None:
    family = parted(retention_days=7)
    families.register(family)
    await families.create_daily_tables()
    day = today(sql) - timedelta(days=30)
    name = add_partition(sql, family, day)
    sql.execute(f"COMMENT ON TABLE public.{name} IS '{leaving(day)}'")
    sql.execute(f"ALTER TABLE public.log DETACH PARTITION public.{name}")
    assert await families.cleanup_old_tables() == [name]


async def test_with_a_default_partition_days_are_dropped_all_the_same(families: type[TableScheduler], sql: Sql) -> None:
    """Postgres refuses CONCURRENTLY there."""
    family = parted(columns=None, like="log", retention_days=7, days_ahead=0)
    sql.execute("CREATE TABLE public.log (player bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at)")
    families.register(family)
    await families.create_daily_tables()
    old = add_partition(sql, family, today(sql) - timedelta(days=30))
    sql.execute("CREATE TABLE public.log_rest PARTITION OF public.log DEFAULT")
    assert await families.cleanup_old_tables() == [old]
    assert "log_rest" in partitions(sql, "log")


# Summing up.


@pytest.mark.parametrize("partitioned", [False, True])
async def test_a_month_is_summed_up_anew_each_time(families: type[TableScheduler], sql: Sql, partitioned: bool) -> None:
    summary = Summary({"games": "count(*)", "best": "max(score)"}, by=("player",))
    family = TableFamily(
        "log", columns=COLUMNS, days_ahead=0, summary=summary, partitioned=partitioned, time_column="at"
    )
    families.register(family)
    await families.create_daily_tables()
    day, month = family.daily_table(today(sql)), family.summary_table(today(sql).replace(day=1))
    sql.execute(f"INSERT INTO public.{day} (player, score) VALUES (1, 5), (1, 9), (2, 3)")
    assert await families.create_monthly_summary_tables() == [month]
    sql.execute(f"INSERT INTO public.{day} (player, score) VALUES (2, 7)")
    assert await families.create_monthly_summary_tables() == [month]
    assert sql.execute(f"SELECT * FROM public.{month} ORDER BY player").fetchall() == [(1, 2, 9), (2, 2, 7)]


async def test_a_column_that_came_later_is_null_on_the_days_before(families: type[TableScheduler], sql: Sql) -> None:
    family = TableFamily("log", columns={**COLUMNS, "extra": "integer"}, summary={"n": "count(*)", "e": "sum(extra)"})
    month = today(sql).replace(day=1)
    sql.execute(f"CREATE TABLE public.{family.daily_table(month)} (score integer, player bigint)")
    sql.execute(f"CREATE TABLE public.{family.daily_table(month.replace(day=2))} (extra integer, score bigint)")
    sql.execute(f"INSERT INTO public.{family.daily_table(month)} VALUES (1, 1)")
    sql.execute(f"INSERT INTO public.{family.daily_table(month.replace(day=2))} VALUES (5, 1)")
    families.register(family)
    (name,) = await families.create_monthly_summary_tables()
    assert sql.execute(f"SELECT n, e FROM public.{name}").fetchall() == [(2, 5)]


@pytest.mark.parametrize("partitioned", [False, True])
async def test_days_go_only_once_their_month_is_summed_up_for_good(
    families: type[TableScheduler], sql: Sql, partitioned: bool
) -> None:
    """And the sums stay what they were when nothing is left to compute them from."""
    family = parted(
        summary={"n": "count(*)"}, retention_days=3, days_ahead=0, partitioned=partitioned, summary_retention_months=12
    )
    families.register(family)
    await families.create_daily_tables()
    month = (today(sql).replace(day=1) - timedelta(days=62)).replace(day=1)
    days = [month + timedelta(days=n) for n in (0, 10, 27)]
    for day in days:
        name = family.daily_table(day)
        if partitioned:
            add_partition(sql, family, day)
        else:
            sql.execute(f"CREATE TABLE public.{name} (LIKE public.{family.daily_table(today(sql))} INCLUDING ALL)")
        sql.execute(f"INSERT INTO public.{name} (player, score, at) VALUES (1, 1, '{day} 12:00:00+00')")
    summary = family.summary_table(month)
    changed = await families.cleanup_old_tables()
    assert changed == [summary, *(family.daily_table(day) for day in days)]
    record = read_record(one(sql, "SELECT obj_description(%s::regclass)", f"public.{summary}"))
    assert record is not None
    assert (record.count, record.first, record.last) == (3, days[0], days[2])
    await families.create_monthly_summary_tables()
    await families.cleanup_old_tables()
    assert one(sql, f"SELECT n FROM public.{summary}") == 3


async def test_a_month_that_can_not_be_summed_up_keeps_its_days(families: type[TableScheduler], sql: Sql) -> None:
    """pg_partman #678: what fails takes nothing along."""
    family = TableFamily("log", columns=COLUMNS, summary={"n": "sum(not_there)"}, retention_days=1)
    families.register(family)
    sql.execute("CREATE TABLE public.log_20200101 (player bigint)")
    with pytest.raises(SchedulerError, match="not_there"):
        await families.cleanup_old_tables()
    assert tables(sql, "log_") == ["log_20200101"]


async def test_a_table_of_somebody_elses_is_never_written_into(families: type[TableScheduler], sql: Sql) -> None:
    family = TableFamily("log", columns=COLUMNS, days_ahead=0, summary={"n": "count(*)"})
    families.register(family)
    await families.create_daily_tables()
    month = family.summary_table(today(sql))
    sql.execute(f"CREATE TABLE public.{month} AS SELECT 42::bigint AS n")
    with pytest.raises(SchedulerError, match="was not made by this family"):
        await families.create_monthly_summary_tables()
    assert one(sql, f"SELECT n FROM public.{month}") == 42


# Rehearsing, and running short.


async def test_what_a_rehearsal_prints_is_what_runs(families: type[TableScheduler], sql: Sql) -> None:
    """Carried out by psql's rules, line by line, it leaves nothing to do."""
    family = parted(retention_days=3, summary={"n": "count(*)"})
    plain = TableFamily("copy", columns=COLUMNS, days_ahead=1, retention_days=3)
    families.register(family)
    families.register(plain)
    for verbs in ((creation, summing), (cleanup,)):
        before = tables(sql, "")
        script, problems = await families.rehearse(*verbs)
        assert problems == []
        assert tables(sql, "") == before, "a rehearsal changes nothing"
        for statement in script.removesuffix(";").split(";\n"):
            sql.execute(statement)
        assert tables(sql, "") != before
        if creation in verbs:
            for name in ("copy_20200101", "copy_20200102"):
                sql.execute(f"CREATE TABLE public.{name} (n int)")
            add_partition(sql, family, date(2020, 1, 1))
    assert tables(sql, "copy_2020") == tables(sql, "log_2020") == []
    assert one(sql, "SELECT n FROM public.log_summary_202001") == 0
    assert await families.create_daily_tables() == []
    assert await families.cleanup_old_tables() == []


async def test_a_family_that_runs_short_is_seen_in_sql_and_by_the_doctor(
    families: type[TableScheduler], sql: Sql, container: Container
) -> None:
    short = "SELECT family FROM scheduler_audit.table_families WHERE is_short ORDER BY family"
    plain, family = TableFamily("copy", columns=COLUMNS), parted()
    families.register(plain)
    families.register(family)
    await families.create_daily_tables()
    assert sql.execute(short).fetchall() == []
    days_left = "SELECT days_left FROM scheduler_audit.table_families WHERE family = %s"
    for name in ("copy", "log", "runs"):
        assert one(sql, days_left, name) == 3
    day = today(sql)
    # Two days are left, then one.
    for ahead, expected in ((3, []), (2, [("copy",), ("log",)])):
        sql.execute(f"DROP TABLE public.{plain.daily_table(day + timedelta(days=ahead))}")
        sql.execute(f"DROP TABLE public.{family.daily_table(day + timedelta(days=ahead))}")
        assert sql.execute(short).fetchall() == expected
    subjects = [finding["subject"] for finding in await container.get_tables().findings()]
    assert subjects == ["public.copy", "public.log"]
    # A gap counts from before it, and today's is the worst to miss.
    sql.execute(f"DROP TABLE public.{family.daily_table(day)}")
    assert one(sql, days_left, "log") == -1
    assert "no table for today" in (await container.get_tables().findings())[1]["detail"]
    await families.create_daily_tables()
    assert await container.get_tables().findings() == []


async def test_few_days_ahead_are_no_alarm_in_themselves(families: type[TableScheduler], sql: Sql) -> None:
    for days in (0, 1, 2):
        families.register(TableFamily(f"ahead_{days}", columns=COLUMNS, days_ahead=days))
    await families.create_daily_tables()
    assert one(sql, "SELECT count(*) FROM scheduler_audit.table_families WHERE is_short") == 0


async def test_a_closed_container_says_so(families: type[TableScheduler], container: Container) -> None:
    await container.close()
    with pytest.raises(SchedulerError, match="init"):
        await families.create_daily_tables()

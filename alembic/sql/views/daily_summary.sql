-- Days that are in `runs` are computed from it, and so are exact however late a row changes. What is stored stands
-- for rows that were dropped; until they are, it counts only where the day can't be read any more. A day that came
-- back after it was dropped is both: counts add up, and percentiles are those of the part with more runs. Each day
-- is computed for itself, so that a question about one day reads one partition.
CREATE VIEW {audit}.daily_summary AS
SELECT day, job_id, sum(runs)::bigint AS runs, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed,
       sum(skipped)::bigint AS skipped, sum(missed)::bigint AS missed,
       (array_agg(p50_duration ORDER BY runs DESC))[1] AS p50_duration,
       (array_agg(p95_duration ORDER BY runs DESC))[1] AS p95_duration,
       (array_agg(p95_lateness ORDER BY runs DESC))[1] AS p95_lateness
FROM (
    SELECT d.day, c.*
    FROM (
        SELECT DISTINCT n.day::date AS day
        FROM {schema}.table_partitions p,
             generate_series((p.first AT TIME ZONE 'UTC')::date,
                             ((p.last - interval '1 microsecond') AT TIME ZONE 'UTC')::date,
                             interval '1 day') AS n (day)
        WHERE p.parent = '{schema}.runs'::regclass AND isfinite(p.first) AND isfinite(p.last)
    ) AS d, LATERAL (
        SELECT job_id,
               -- a counted row stands for all of its kind; a run that inherited a count, for itself and missed ones
               coalesce(sum(CASE WHEN reason IN ('calendar', 'no_calendar') THEN coalesce(missed_count, 1) ELSE 1 END)
                        FILTER (WHERE status <> 'missed'), 0)::bigint AS runs,
               count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
               count(*) FILTER (WHERE status = 'failed') AS failed,
               coalesce(sum(CASE WHEN reason IN ('calendar', 'no_calendar') THEN coalesce(missed_count, 1) ELSE 1 END)
                        FILTER (WHERE status = 'skipped'), 0)::bigint AS skipped,
               coalesce(sum(CASE WHEN status = 'missed' THEN missed_count
                                 WHEN reason IN ('calendar', 'no_calendar') THEN 0
                                 ELSE missed_count - 1 END), 0)::bigint AS missed,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY finished_at - started_at) AS p50_duration,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY finished_at - started_at) AS p95_duration,
               -- a backfilled run is late on purpose
               percentile_cont(0.95) WITHIN GROUP (ORDER BY started_at - scheduled_for)
                   FILTER (WHERE origin <> 'backfill') AS p95_lateness
        FROM {schema}.runs
        WHERE scheduled_for >= d.day::timestamp AT TIME ZONE 'UTC'
          AND scheduled_for < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
        GROUP BY job_id
    ) AS c
    UNION ALL
    SELECT day, job_id, runs, succeeded, failed, skipped, missed, p50_duration, p95_duration, p95_lateness
    FROM {schema}.daily_summaries s
    WHERE is_final OR NOT EXISTS (
        SELECT FROM {schema}.runs r
        WHERE r.scheduled_for >= s.day::timestamp AT TIME ZONE 'UTC'
          AND r.scheduled_for < (s.day + 1)::timestamp AT TIME ZONE 'UTC')
) AS parts
GROUP BY day, job_id;

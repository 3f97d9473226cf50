CREATE TABLE daily_summaries (
    day          date NOT NULL,
    job_id       text COLLATE "C" NOT NULL,
    runs         bigint NOT NULL,
    succeeded    bigint NOT NULL,
    failed       bigint NOT NULL,
    skipped      bigint NOT NULL,
    missed       bigint NOT NULL,
    p50_duration interval,
    p95_duration interval,
    p95_lateness interval,
    is_final     boolean NOT NULL,
    PRIMARY KEY (day, job_id)
);

COMMENT ON COLUMN daily_summaries.is_final IS 'the rows are dropped; false: they are about to be';

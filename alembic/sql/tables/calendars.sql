CREATE TABLE calendars (
    name              text PRIMARY KEY,
    -- {"2026-12-25": "Christmas Day"}, days of the time zone of the job that names the calendar
    excluded_dates    jsonb NOT NULL,
    excluded_weekdays text[] NOT NULL,
    -- [["2026-12-24T17:00:00+00:00", "2026-12-27T00:00:00+00:00"]], the first instant excluded and the second not
    excluded_periods  jsonb NOT NULL,
    note              text,
    version           bigint NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by        text
);

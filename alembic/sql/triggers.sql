-- Claims and outcomes write to `jobs` thousands of times a second. No claim sets a column that `job_edited` names; an
-- outcome sets `version` and `auto_disabled_at`, so that the WHEN of `job_changed` compares those two and nothing else.
-- All that we change by intent raises the version; what is edited by hand need not.
CREATE TRIGGER job_changed AFTER UPDATE OF version, auto_disabled_at ON jobs FOR EACH ROW
    WHEN (OLD.version <> NEW.version OR OLD.auto_disabled_at IS DISTINCT FROM NEW.auto_disabled_at)
    EXECUTE FUNCTION log_changed_job();

-- Those of job_document, but for `auto_disabled_at`.
CREATE TRIGGER job_edited AFTER UPDATE OF
        job_id, name, schedule_type, schedule_value, timezone, start_at, end_at, dst, jitter, calendars, callback,
        args, kwargs, enabled, misfire, misfire_grace, catch_up_limit, overlap, delivery, timeout, max_retries,
        retry_delay, retry_max_delay, disable_after, executor, concurrency_key, concurrency_limit, rate_limit, priority,
        tags, use_distributed_lock, lock_key, lock_ttl, anchor, paused_at, paused_until, paused_by, pause_note ON jobs
    FOR EACH ROW
    WHEN (OLD.version = NEW.version AND OLD.auto_disabled_at IS NOT DISTINCT FROM NEW.auto_disabled_at
          AND (OLD.job_id, OLD.name, OLD.schedule_type, OLD.schedule_value, OLD.timezone, OLD.start_at, OLD.end_at,
               OLD.dst, OLD.jitter, OLD.calendars, OLD.callback, OLD.args, OLD.kwargs, OLD.enabled, OLD.misfire,
               OLD.misfire_grace, OLD.catch_up_limit, OLD.overlap, OLD.delivery, OLD.timeout, OLD.max_retries,
               OLD.retry_delay, OLD.retry_max_delay, OLD.disable_after, OLD.executor,
               OLD.concurrency_key, OLD.concurrency_limit, OLD.rate_limit, OLD.priority, OLD.tags,
               OLD.use_distributed_lock, OLD.lock_key, OLD.lock_ttl, OLD.anchor, OLD.paused_at, OLD.paused_until,
               OLD.paused_by, OLD.pause_note)
              IS DISTINCT FROM
              (NEW.job_id, NEW.name, NEW.schedule_type, NEW.schedule_value, NEW.timezone, NEW.start_at, NEW.end_at,
               NEW.dst, NEW.jitter, NEW.calendars, NEW.callback, NEW.args, NEW.kwargs, NEW.enabled, NEW.misfire,
               NEW.misfire_grace, NEW.catch_up_limit, NEW.overlap, NEW.delivery, NEW.timeout, NEW.max_retries,
               NEW.retry_delay, NEW.retry_max_delay, NEW.disable_after, NEW.executor,
               NEW.concurrency_key, NEW.concurrency_limit, NEW.rate_limit, NEW.priority, NEW.tags,
               NEW.use_distributed_lock, NEW.lock_key, NEW.lock_ttl, NEW.anchor, NEW.paused_at, NEW.paused_until,
               NEW.paused_by, NEW.pause_note))
    EXECUTE FUNCTION log_changed_job();

CREATE TRIGGER jobs_added AFTER INSERT ON jobs REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION log_added_jobs();
CREATE TRIGGER jobs_removed AFTER DELETE ON jobs REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION log_removed_jobs();
CREATE TRIGGER jobs_truncated BEFORE TRUNCATE ON jobs
    FOR EACH STATEMENT EXECUTE FUNCTION log_truncated_jobs();
CREATE TRIGGER calendar_changed AFTER INSERT OR UPDATE OR DELETE ON calendars
    FOR EACH ROW EXECUTE FUNCTION log_calendar();

-- `attempts` gets rows only where an attempt did not succeed: a run that succeeds pays nothing for it.
CREATE TRIGGER attempt_failed AFTER INSERT ON attempts FOR EACH ROW
    WHEN (NEW.outcome <> 'cancelled' AND NOT NEW.late)
    EXECUTE FUNCTION note_failed_attempt();

CREATE TRIGGER control_registered BEFORE INSERT OR UPDATE OF life_key ON instances
    FOR EACH ROW EXECUTE FUNCTION register_control_pid();
CREATE TRIGGER control_registered BEFORE UPDATE OF nonce ON leader
    FOR EACH ROW EXECUTE FUNCTION register_leaders_pid();

-- The logs only grow. Refused twice: by privilege, also to the owner (roles.sql), and by a trigger that fires under
-- every session_replication_role, also for a superuser. Who may ALTER the table may still disable the trigger.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON job_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE job_changes ENABLE ALWAYS TRIGGER append_only;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON calendar_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE calendar_changes ENABLE ALWAYS TRIGGER append_only;

"""One fire, read top to bottom: from what is due to an outcome that is durable.

    claiming        what is due → plan → one fenced statement that moves the cursors and inserts the runs
    job_cache       the definitions that this needs, read once for each version
    start_timers    a timer for each instant
    in_flight       the runs that this process has, until each has ended or gone back
    run_executor    one run, from its instant to its outcome: the pipeline
    overlap_gate    runs of one job that must not overlap (`elsewhere`: those that others have); `limits`, what jobs
                    share; `slots`, how many callbacks execute at once
    offering        or: whoever can execute it may take it; `taking`, the other end, on every replica
    run_lock        a job's distributed lock
    attempts        the call, again after a failure (`retry`); `start_gate`, what may begin beside what
    callback_call   calling a callback once: whatever it does is an ending
    recorder        outcomes, in batches; `journal`, what the executing asks of it

Beside it: `recovery`, what becomes of runs whose owners are gone; `cancellation`; `active_run`, a run whose callback is
being called; `tracing` and `log_context`.
"""

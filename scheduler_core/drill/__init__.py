"""The failover drill: real replicas, real faults, and a verdict that owes nothing to the scheduler's own word.

    plan        schedule        which faults hit when: from a seed, so that a bad day can be played again
                pairs           which two kinds can hit at once, and why others can't
                jobs            the drill's jobs: when each is due, by integers
    apparatus   drill           all of it in sequence; ends with the evidence
                stage, setup    what faults act on, set up and taken down; every wait on it
                servers         the embedded servers, which faults may hit, or staging servers, which they may not
                replicas        replica processes: started, killed, stopped, awaited
                callbacks       the app that replicas run; each call writes itself into a witness file
                commands        how a callback is told to block, to fork or to die
                postgres_pair   two places for Postgres: a primary, and a standby when a fault asks for one
                faults          a table of faults; `injection` (processes), `server_faults` (servers and connections go
                                down), `postgres_faults`, `redis_faults` (they go on) and `failover_faults` inject
                                them; `kinds`, what is true of each: pure
                proxy           a TCP relay that can be cut, reset, silenced or slowed, in each direction
                clock, folder   the database's clock as seen from here; the files of one drill
                witness         lines of witness files, written and read
                collect         the record, the witness files and the faults, brought together
                healing         how long those last, and how they are undone in the midst of another
                right_times     instants that were recorded while a fault had the database's clock off
    judgement   evidence        what was collected, as values
                checker         all findings: `accounting`, `terms` and `calls`, with the `fault_windows`: pure
                replication     what a promoted standby had not heard of: pure
                verdict         kinds of findings, and the promise that each one breaks
                takeover        how long nobody fired, by fault: pure
                report          the verdict for people; `document` for programs; `picture…` as a picture

The judgement never asks the scheduler's code when something should have fired.
"""

"""What operators do to jobs, in any order, on a real Postgres: after each step a plain model agrees with the rows.

    standing_clock   a database whose time moves only when a test says so
    hand_led         a replica, its election apart, whose looks are made by hand
    model            what must be so, in plain Python: a dict of jobs, what each owes, and what became of it
    machine          the steps, as rules of a Hypothesis state machine, and what is asked after each
    mutants          guards taken out of the product, one at a time: the machine has to find each

`make stateful` plays for longer than `make test` does.
"""

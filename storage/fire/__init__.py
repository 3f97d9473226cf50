"""The hot path's statements, in the order in which a fire meets them.

`control_session` is the one with witnesses and the leader's row (`term_statements`), `witness_session` what it asks of
its connection; `claims` moves cursors and inserts runs, `outcomes` makes starts and ends durable, `takeovers` gives a
dead owner's runs to a living one, `handing` gives attempts to workers, `requests` takes what operators want of a run.
`runs` puts them together as the engine's port.
"""

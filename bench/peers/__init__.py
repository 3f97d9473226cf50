"""The peers, measured in the same run as ourselves, each by its own documented best practice.

compare       all of it, one after another: what `python -m bench peers` runs
catalogue     who is measured, with how many jobs and processes, and what each cannot do
venvs         an environment of its own for each peer, from exact versions
trial         one measure of one peer, or of ours: servers' side, processes, limits
processes     processes in a group of their own, ended by pid whatever happens
inside        what runs inside a peer's environment; the files beside it named after the peers are all that differs
figures       lateness and takeover from what the tasks wrote down: pure
table         the figures as rows, their ratios to ours, and the reasons where there is none: pure
"""

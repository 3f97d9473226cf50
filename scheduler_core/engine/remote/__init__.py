"""What executes elsewhere than in the leader's process.

`executors` finds and starts the executors that jobs name; `handing` gives a run out and waits for what became of it;
`worker` is the other side, in the process that makes the attempt.
"""

"""Traces (docs/traces.md) checked: line by line against the model of the protocol, and for cycles.

`replay` plays a trace through `tests/model/protocol.py`: each line has to be a step that the model allows. `cycles`
asks whether the transactions could have come one after another. Neither knows the scheduler's code.
"""

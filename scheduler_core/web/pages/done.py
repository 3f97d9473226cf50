"""What a page says after an action. The address carries a word of ours and a number, never text to be shown."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, str] = {
    "triggered": "The run is due now; whoever leads starts it.",
    "paused": "The job is paused, and stays so until somebody resumes it or its time is over.",
    "resumed": "The job fires again.",
    "edited": "The job is changed.",
    "same": "Nothing was changed: the job is like that already.",
    "reverted": "The earlier definition stands again.",
    "removed": "The job is removed; its history stays.",
    "rerun": "This run repeats the other one; it is due now.",
    "cancelled": "The run is cancelled.",
    "cancelling": "The run is asked to end. A callback in a thread can't be stopped: it ends when it returns.",
    "backfilled": "{count} are made; the leader executes them in order, beside the schedule.",
    "resigning": "The leader is asked to resign; another replica takes the next term.",
    "nobody-leads": "Nobody leads: there is nobody to resign.",
}


def done_words(parameters: Mapping[str, str]) -> str | None:
    """The sentence for `?done=…&count=…`; None where there is none."""
    sentence = WORDS.get(parameters.get("done", ""))
    if sentence is None:
        return None
    given = parameters.get("count", "")
    number = int(given) if given.isascii() and given.isdigit() and len(given) < 8 else 0
    return sentence.format(count="1 run" if number == 1 else f"{number:,} runs")

"""Failed attempts to get in, by address: who fails too often waits."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

MOST_FAILURES = 10
WITHIN_SECONDS = 60.0
MOST_ADDRESSES = 10_000
MOST_KNOWN = 1_000


@dataclass(slots=True)
class LoginThrottle:
    """The failures of the last minute, in this process, bounded.

    A secret that opened something here before may go on from an address that others are guessing from, as behind one
    proxy; it is looked up like any other. Times are seconds of a monotonic clock.
    """

    most_failures: int = MOST_FAILURES
    within_seconds: float = WITHIN_SECONDS
    _failures: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)
    _known: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def wait_seconds(self, address: str, digest: bytes, now: float) -> float:
        """How long this address has to wait before it may try this secret; 0 if it may now."""
        failures = self._recent(address, now)
        if digest in self._known or len(failures) < self.most_failures:
            return 0.0
        return max(0.0, failures[0] + self.within_seconds - now)

    def failed(self, address: str, digest: bytes, now: float) -> None:
        """Count a failure."""
        self._known.pop(digest, None)
        failures = self._failures.setdefault(address, deque(maxlen=self.most_failures))
        failures.append(now)
        self._failures.move_to_end(address)
        while len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)

    def succeeded(self, digest: bytes) -> None:
        """Remember a secret that opened something."""
        self._known[digest] = None
        self._known.move_to_end(digest)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def _recent(self, address: str, now: float) -> deque[float]:
        failures = self._failures.get(address)
        if failures is None:
            return deque()
        while failures and failures[0] <= now - self.within_seconds:
            failures.popleft()
        if not failures:
            del self._failures[address]
        return failures

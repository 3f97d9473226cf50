"""What schedules mean, worked out a second time: slowly, plainly, and with no code of the product's.

The oracle looks at every minute, or second, of a span: it converts each instant with `zoneinfo` and asks whether the
definition names the wall time that the clock shows. Nothing is computed ahead, nothing is skipped.

- `expression`: a cron expression as sets and a test of days, read by rules of its own (cronsim is not asked);
- `walk`: the steps of a span in a zone, with what the clock repeats there and what it skips;
- `transitions`: the changes of a zone's UTC offset, found by looking at each half day, then each minute;
- `occurrences`: which steps a definition fires at, under each `dst` choice and within its bounds;
- `definitions`: random definitions, drawn where things go wrong: near a change, from a seed;
- `compare`: a definition's occurrences beside those of `next_fires`, `count`, `last_until` and `plan`;
- `suites`: expressions of other libraries' test suites (`data/`), beside ours, and the list of differences.

`python -m tests.oracle` runs all of it over every change of every zone from 2000 to 2037 and prints counts; the
tests here run a slice.
"""

from tests.zones import use_newer_zones

use_newer_zones()

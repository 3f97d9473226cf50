"""`python -m tests.endings > docs/endings.md`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from endings.page import written

print(written(), end="")

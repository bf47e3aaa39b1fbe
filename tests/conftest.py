"""Fixtures shared by all tests: small, seeded, quick."""

from __future__ import annotations

import os

# One thread, as the suite may run in several processes, and waiting threads would be in the way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

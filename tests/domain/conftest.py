"""Property tests judge answers, not this machine's speed: no deadline for a single example."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

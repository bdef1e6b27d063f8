"""The marketplace's newer door: the Octopia Seller API on loopback, over the same books as SOAP.

What is not on record of the real service is decided in `rules`, where a test can decide it
otherwise.
"""

from __future__ import annotations

from mailbridge.sandbox.octopia.rules import PatchKey, Rules
from mailbridge.sandbox.octopia.simulator import OctopiaSimulator

__all__ = ["OctopiaSimulator", "PatchKey", "Rules"]

"""The Octopia Seller REST API as a marketplace: `OctopiaMarketplace`. See docs/octopia.md."""

from __future__ import annotations

from mailbridge.marketplace.octopia.adapter import OctopiaMarketplace
from mailbridge.marketplace.octopia.mapping import CHANNELS

__all__ = ["CHANNELS", "OctopiaMarketplace"]

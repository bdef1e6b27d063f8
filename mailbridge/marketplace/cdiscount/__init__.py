"""The Cdiscount SOAP service as a marketplace: `CdiscountMarketplace`. See docs/cdiscount.md."""

from __future__ import annotations

from mailbridge.marketplace.cdiscount.adapter import CdiscountMarketplace

__all__ = ["CdiscountMarketplace"]

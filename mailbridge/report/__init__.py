"""What commands have found, on a terminal: for operators, in English, at 80 columns.

One module for each thing that is shown; `page` has the parts they are made of, and the rules.
"""

from __future__ import annotations

from mailbridge.report.check import show_check
from mailbridge.report.discussion import show_discussion
from mailbridge.report.orders import show_movement, show_orders, show_step, show_unshown
from mailbridge.report.status import show_status
from mailbridge.report.templates import show_templates

__all__ = [
    "show_check",
    "show_discussion",
    "show_movement",
    "show_orders",
    "show_status",
    "show_step",
    "show_templates",
    "show_unshown",
]

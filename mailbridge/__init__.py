"""mailbridge: answer marketplace customers from the mail client the staff already use."""

__version__ = "0.1.0"

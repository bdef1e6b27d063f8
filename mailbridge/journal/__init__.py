"""The durable record of every intended and done effect: tables, migrations and repositories."""

"""The configuration: one TOML file, checked whole before anything runs."""

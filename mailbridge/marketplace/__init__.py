"""The marketplace as a port (`port`), and one folder for each adapter."""

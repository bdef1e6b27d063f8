"""The flows between marketplace and mailbox, one module each, joining `domain` and the ports."""

"""Reading and writing mail, and the two guarded connections: IMAP and SMTP submission."""

"""A marketplace, an IMAP and an SMTP server to try mailbridge on. Nothing else imports this."""

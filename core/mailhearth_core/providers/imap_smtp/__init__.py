"""Any host by IMAP and SMTP."""

"""A mail provider to practise on: three domains, SMTP submission and IMAP."""

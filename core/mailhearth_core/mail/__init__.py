"""Speaking to mail servers: sessions, DNS, error classification, reports."""

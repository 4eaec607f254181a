"""Numbers to pages; nothing is computed here."""

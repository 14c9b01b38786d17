"""What a caller can ask for: load, decide with the domain, write one transaction with the store."""

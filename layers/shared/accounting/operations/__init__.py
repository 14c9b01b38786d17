"""What a caller can ask for. Each operation loads, decides with the domain, and writes one transaction."""

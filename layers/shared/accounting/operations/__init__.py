"""The operations that a caller can ask for. Each reads, decides with the domain, and writes one transaction."""

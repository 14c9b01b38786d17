"""HTTP: the resolver, the caller, the field types and the one table from error codes to statuses."""

"""Programs that use the service."""

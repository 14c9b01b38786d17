"""The operations of routes and schedules. Most read, decide with the domain, and write one transaction."""

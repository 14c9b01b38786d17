"""The operations of routes and schedules. Most of them read, decide with the domain, and write one transaction."""

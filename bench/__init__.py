"""What the service costs: time, calls, units, sizes and money. `make bench` measures; bench/README.md explains."""

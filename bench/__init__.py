"""What the service costs: time, round trips, DynamoDB's units, sizes and money.

`make bench` measures; bench/README.md explains.
"""

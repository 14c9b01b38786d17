"""The credit-accounting layer: what every function of the service shares.

Arrows point one way: ``web`` → ``operations`` → ``domain`` (pure) and ``store`` (the only one to talk to DynamoDB).
"""

__version__ = "0.1.0"

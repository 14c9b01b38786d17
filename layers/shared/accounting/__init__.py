"""The credit-accounting layer: what every function of the service shares.

Arrows point one way: ``web`` → ``operations`` → ``domain`` (pure) and ``store`` (the only boto3).
"""

__version__ = "0.1.0"

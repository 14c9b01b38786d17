"""The credit-accounting layer, shared by all functions of the service.

Imports point one way: ``web`` → ``operations`` → ``store`` → ``domain``. Only ``store`` calls DynamoDB, and ``domain``
is pure.
"""

__version__ = "0.1.0"

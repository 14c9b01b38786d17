"""The credit-accounting layer, shared by all functions of the service.

Imports point one way: ``web`` → ``operations`` → ``store`` → ``domain``. Only ``store`` calls DynamoDB.
``domain`` only decides: it reads no clock, no environment and no database.
"""

__version__ = "0.1.0"

"""The credit-accounting layer, shared by all functions of the service.

Imports point one way: ``web`` → ``operations`` → ``domain`` (pure) and ``store``, the only package that calls DynamoDB.
"""

__version__ = "0.1.0"

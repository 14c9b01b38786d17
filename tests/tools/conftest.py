"""The fixtures of `tests/integration`: a local AWS, and a separate table for every test."""

from tests.integration.conftest import aws, calls, dynamodb, no_metrics, table_name, user

__all__ = ["aws", "calls", "dynamodb", "no_metrics", "table_name", "user"]

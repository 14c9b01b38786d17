"""Refusals that several routes share."""

SPENDING_CODES = (
    "INSUFFICIENT_CREDITS",
    "BUDGET_EXCEEDED",
    "ACCOUNT_NOT_FOUND",
    "ORGANIZATION_CLOSED",
    "RUN_ENDED",
)
"""The refusals of routes that spend credits, in addition to those of all routes."""

"""Refusals that several routes share."""

SPENDING_CODES = (
    "INSUFFICIENT_CREDITS",
    "BUDGET_EXCEEDED",
    "ACCOUNT_NOT_FOUND",
    "ORGANIZATION_CLOSED",
    "RUN_ENDED",
)
"""Why a route that spends credits may refuse to, beside what all routes refuse."""

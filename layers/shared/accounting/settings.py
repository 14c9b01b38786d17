"""The service's settings, read from the environment once, on first use."""

import os
from functools import cache
from typing import NamedTuple

from accounting import __version__
from accounting.times import DAY, HOUR, MINUTE

DEFAULT_HOLD_BUFFER_PERCENT = 20


class Settings(NamedTuple):
    """The settings, most of which are parameters of the stack. Durations are in milliseconds."""

    table_name: str
    session_timeout: int
    session_max_life: int
    hold_buffer_percent: int
    reduce_short_holds: bool
    sweep_charges_estimate: bool
    refuse_unknown_models: bool
    refund_grace: int
    session_retention: int
    usage_retention: int
    usage_record_deducts: bool
    full_audit: int
    require_service_key: bool


@cache
def settings() -> Settings:
    """The settings of this process. Raises KeyError if ``TABLE_NAME`` is not set."""
    env = os.environ
    return Settings(
        table_name=env["TABLE_NAME"],
        session_timeout=int(env.get("SESSION_TIMEOUT_MINUTES", "60")) * MINUTE,
        session_max_life=int(env.get("SESSION_MAX_HOURS", "24")) * HOUR,
        hold_buffer_percent=int(env.get("HOLD_BUFFER_PERCENT", DEFAULT_HOLD_BUFFER_PERCENT)),
        sweep_charges_estimate=env.get("SWEEP_CHARGES", "reported") == "estimate",
        refuse_unknown_models=env.get("UNKNOWN_MODELS", "default") == "refuse",
        reduce_short_holds=env.get("HOLD_BUFFER_WHEN_SHORT", "refuse") == "reduce",
        refund_grace=int(env.get("REFUND_GRACE_HOURS", "24")) * HOUR,
        session_retention=int(env.get("SESSION_RETENTION_DAYS", "90")) * DAY,
        usage_retention=int(env.get("USAGE_RETENTION_DAYS", "400")) * DAY,
        usage_record_deducts=env.get("USAGE_RECORD_DEDUCTS", "false") == "true",
        require_service_key=env.get("REQUIRE_SERVICE_KEY", "false") == "true",
        full_audit=int(env.get("FULL_AUDIT_DAYS", "7")) * DAY,
    )


def service_version() -> str:
    """The stack's parameter ``ServiceVersion``, or the version of this package if the parameter is not set."""
    return os.environ.get("SERVICE_VERSION") or __version__

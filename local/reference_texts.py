"""The texts of docs/reference that are not in the service's code: introductions, the gateway's errors, the metrics."""

from __future__ import annotations

ROUTES = """
# Routes

Every route: what it does, who may call it, the fields of its request and its answer. `?` marks a field that may be
absent. [Requests](requests.md) has the rules that all routes share, and [errors.md](errors.md) the refusals.

The [OpenAPI document](../../functions/docs/openapi.json) has the type, the limits and an example of each field. The
service returns it at `GET /api/openapi.json`. `GET /api/docs` is a page where you can try every route.
"""
ERRORS = """
# Errors

Every error code: its status, what it means, and the fields of `details` that help a program to act on it.

Each refusal has one shape: `{"message": "…", "code": "…", "details": {…}, "requestId": "…"}`. A program should decide
by `code`; `message` is for people and may change. A 429 and a 503 carry `Retry-After`, in seconds. After a 429, 503 or
504, or without any answer, send the same request again with the same `sessionId` or `Idempotency-Key`: it takes effect
at most once.
"""
GATEWAY_ERRORS = {
    "INTERNAL_ERROR": "A defect in the service. Each change was made completely or not at all. "
    "The service's log has the cause under the answer's `requestId`.",
    "RATE_LIMITED": "Too many requests arrived, from all callers together or from the caller's address. "
    "Nothing was done.",
    "TIMEOUT": "The gateway got no answer within 29 seconds. Whether the request was carried out is unknown.",
}
"""The meaning of the codes that have no error class."""
PARAMETERS = """
# Parameters

Every parameter of `template.yaml`: its default, the values that it takes, and what it does.

On AWS: `make deploy PARAMETERS="RequireServiceKey=true AlarmEmail=oncall@example.com"`.
"""
METRICS_PAGE = """
# Metrics

Every metric that the service writes: what it counts, and when to look closer.

The functions write counters to the CloudWatch namespace `AccountingService`, with the dimensions `service` and `stack`
(the name of the stack). Sum them over a period. [Operations](../operations.md#the-alarms) has the alarms that watch
them.
"""
TRAFFIC = "It falls to 0 while there is traffic."
METRICS = {
    "CreditsGranted": (
        "Credits given by `allocate`, `set` or `adjust`, or moved from a closed organization, and debt written off.",
        "It does not match what was sold.",
    ),
    "CreditsRemoved": (
        "Credits taken away by `remove`, `set` or `adjust`, or by the closing of an organization.",
        "It does not match what was taken back.",
    ),
    "CreditsHeld": (
        "Credits set aside for sessions.",
        "It is far above `CreditsSettled`: estimates are too high, and users are refused too early.",
    ),
    "CreditsSettled": ("Credits charged for sessions.", TRAFFIC),
    "CreditsRefunded": ("Held credits that were given back.", ""),
    "CreditsOverrun": (
        "Credits used beyond a hold.",
        "It grows: estimates are too low, or heartbeats are not sent.",
    ),
    "CreditsDebt": (
        "The part of the overrun that users had no credits for, and now owe.",
        "It stays above 0.",
    ),
    "CreditsCharged": ("Credits that `usage/record` deducted.", TRAFFIC),
    "BudgetWarnings": (
        "Warning levels (`warnAtPercent`) that budgets reached. For each, a log line names the account and the user.",
        "",
    ),
    "CreditsExpired": ("Expired credits that the sweeper or a command removed.", ""),
    "SessionsResolved": ("Sessions that ended, in any way.", ""),
    "SessionsSettledLate": (
        "Sessions whose usage arrived after the sweeper or a supervisor had ended the session.",
        "It exceeds a few percent of `SessionsSwept`: streams run for `SessionTimeoutMinutes` without a heartbeat.",
    ),
    "CreditsReportedNotSettled": (
        "Credits that heartbeats had reported and that were not charged when the sessions were settled.",
        "It grows: clients report too much during streams, or settle less than they used (see `RequireServiceKey`).",
    ),
    "SessionsSwept": (
        "Sessions that the sweeper ended.",
        "It exceeds a few percent of `SessionsResolved`: a proxy dies, or forgets to finalize.",
    ),
    "WalletsExpired": ("Wallets from which the sweeper removed expired lots.", ""),
    "SweepFailures": (
        "Sessions, wallets and erasures that the sweeper could not finish. The log has the reason.",
        "It is above 0 in two consecutive runs: until the cause is fixed, credits stay held or personal data stays.",
    ),
    "UsageRecorded": ("Records written by `usage/record`.", TRAFFIC),
    "RollupFailures": (
        "Batches of usage records that could not be read or counted. They are delivered again.",
        "It is above 0 for minutes: the system's statistics do not advance. Users' own statistics are not affected.",
    ),
    "WalletsAudited": ("Wallets that the auditor checked.", "It is 0 for a day: the auditor does not run."),
    "LedgerDrift": ("Wallets in which the auditor found a problem.", "It is not 0."),
    "LedgersUnread": (
        "Wallets whose ledger has entries in the format of a newer version of this service.",
        "It is above 0 for a day: a deployment was only half rolled back, or an old auditor still runs.",
    ),
    "AuditFailures": (
        "Wallets that the auditor could not check because of an error. The log has the reason.",
        "It is above 0 in two consecutive runs.",
    ),
    "Contention": (
        "Requests answered 503 `CONTENTION`, most of them after 8 seconds of attempts.",
        "It stays above 0.",
    ),
    "ConflictsRetried": (
        "Commands that were decided again because another command changed the same wallet or item first.",
        "It grows faster than traffic: one account gets many commands at once. Some may soon get `CONTENTION`.",
    ),
}
"""What each metric counts, and when to look closer."""

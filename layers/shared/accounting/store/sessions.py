"""Streaming sessions in the table."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from accounting.domain.accounts import AccountId, stored
from accounting.domain.errors import SessionNotActive
from accounting.domain.model_usage import Usage
from accounting.domain.rates import RateCard
from accounting.domain.sessions import Report, Session, Settled
from accounting.domain.wallet import Wallet
from accounting.settings import settings
from accounting.store import budgets, keys, lots, table, wallets
from accounting.store.formats import unknown
from accounting.store.stale import StaleRead
from accounting.store.table import Item, Write

_PLAIN = (
    "model_id",
    "estimated_tokens",
    "started_at",
    "last_seen_at",
    "due_at",
    "initial_credits",
    "initial_expires_at",
    "usage_output",
    "fitting_tokens",
    "revision",
    "tokens",
    "format",
)
_SETTLED = tuple(name for name in Settled._fields if name not in ("usage", "model_id"))
_KNOWN = {
    *("user_id", "session_id", "account_id", "status", "parts", "rates", "inputs", "output_parts", "has_metadata"),
    *("estimated_usage", "variant", "counters", "key_id", "run_id"),
    *_PLAIN,
    *(f"{prefix}_{name}" for prefix in ("settled", "late") for name in (*_SETTLED, "usage", "model_id")),
}


class SessionTaken(Exception):
    """The id already belongs to ``session``."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.session_id)
        self.session = session


def get(user_id: str, session_id: str) -> Session | None:
    """The session, strongly consistent."""
    item = table.get(keys.session(user_id, session_id))
    return from_item(item) if item else None


def with_wallet(user_id: str, session_id: str, account_id: AccountId) -> tuple[Session | None, Wallet]:
    """The session and the wallet of ``account_id``, strongly consistent, in one call."""
    item, wallet = table.get_many([keys.session(user_id, session_id), keys.wallet(account_id)])
    return from_item(item) if item else None, wallets.from_item(account_id, wallet)


def open_new(session: Session) -> Write:
    """Add the session. Refused with SessionTaken if its id is taken."""

    def refused(old: Item | None) -> Exception:
        return SessionTaken(from_item(old)) if old else table.Conflict()

    return Write(table.put(to_item(session), condition="attribute_not_exists(pk)"), refused=refused)


def put_metadata(session: Session, metadata: dict[str, Any]) -> Write:
    """Store a session's metadata in a separate item, so that its size does not make heartbeats cost more."""
    ttl = session.started_at + settings().session_max_life + settings().session_retention
    item = {
        **keys.session_metadata(session.user_id, session.session_id),
        "metadata": table.compact(metadata),
        "ttl": ttl // 1000,
    }
    return Write(table.put(item))


def metadata_of(session: Session) -> dict[str, Any]:
    """The metadata that a session's caller sent; empty if the caller sent none, or if the metadata was erased."""
    if not session.has_metadata:
        return {}
    item = table.get(keys.session_metadata(session.user_id, session.session_id))
    found: dict[str, Any] = json.loads(item["metadata"]) if item else {}
    return found


def replace(before: Session, after: Session, *, untouched: bool = False) -> Write:
    """Replace an active session.

    Refused with StaleRead, which carries the newer ``session``, if the session has ended or its ``revision`` has
    changed. Refused with SessionNotActive if there is no such session.

    A heartbeat that fits the hold does not change the ``revision``. With ``untouched``, StaleRead is raised if there
    was any heartbeat after ``before``.
    """
    still_active = "#status = :active"
    same_hold = "revision = :revision"
    values: Item = {":active": "active", ":revision": before.revision}
    clauses = [still_active, same_hold]
    if untouched:
        no_heartbeat_since = "tokens = :tokens AND last_seen_at = :seen"
        clauses.append(no_heartbeat_since)
        values |= {":tokens": before.tokens, ":seen": before.last_seen_at}
    action = table.put(to_item(after), condition=" AND ".join(clauses), values=values, names={"#status": "status"})

    def refused(old: Item | None) -> Exception:
        return StaleRead(session=from_item(old)) if old else SessionNotActive(before.session_id)

    return Write(action, refused=refused)


def settle_late(after: Session) -> Write:
    """Store the late settlement of a session that the sweeper or a supervisor has ended.

    Refused with StaleRead, which carries the newer ``session``, if another late settlement came first. Refused with
    SessionNotActive if the session is gone.
    """
    swept = "settled_outcome = :swept"
    first = "attribute_not_exists(late_outcome)"
    action = table.put(to_item(after), condition=f"{swept} AND {first}", values={":swept": "swept"})

    def refused(old: Item | None) -> Exception:
        return StaleRead(session=from_item(old)) if old else SessionNotActive(after.session_id)

    return Write(action, refused=refused)


def beat(user_id: str, session_id: str, report: Report, now: int) -> tuple[bool, Session | None]:
    """Store a heartbeat's report in one conditional write; return whether it was stored, and the session as it is now.

    The report is stored if the session is active and if the report is not below the last one, fits the hold, and
    changes nothing but the number of tokens.
    """
    still_active = "#status = :active"
    not_backwards = "tokens <= :tokens"
    fitting = "fitting_tokens >= :tokens"
    clauses = [still_active, not_backwards, fitting]
    assignments = "tokens = :tokens, last_seen_at = :now"
    values: Item = {":tokens": report.tokens}
    if report.usage:
        same_but_for_output = "inputs = :inputs AND output_parts = :parts"
        newest_usage = "usage_output <= :usage_output"
        clauses += [same_but_for_output, newest_usage]
        assignments += ", usage_output = :usage_output"
        values |= {":inputs": report.usage.inputs.to_text(), ":parts": _output_parts(report.usage)}
        values |= {":usage_output": report.usage_output}
    else:
        no_input_to_subtract = "(attribute_not_exists(inputs) OR attribute_exists(estimated_usage))"
        clauses.append(no_input_to_subtract)
    return _touch(user_id, session_id, clauses, assignments, values, now)


def note_tokens(user_id: str, session_id: str, tokens: int, now: int) -> Session | None:
    """Store that an active session has reached ``tokens``, unless it reported more; return the session as it is now."""
    clauses = ("#status = :active", "tokens <= :tokens")
    _, session = _touch(user_id, session_id, clauses, "tokens = :tokens, last_seen_at = :now", {":tokens": tokens}, now)
    return session


def keep_alive(user_id: str, session_id: str, now: int) -> Session | None:
    """Store a sign of life of an active session; return the session as it is now."""
    _, session = _touch(user_id, session_id, ("#status = :active",), "last_seen_at = :now", {}, now)
    return session


def _touch(
    user_id: str, session_id: str, clauses: Sequence[str], assignments: str, values: Item, now: int
) -> tuple[bool, Session | None]:
    done, item = table.update_one(
        keys.session(user_id, session_id),
        f"SET {assignments}",
        condition=" AND ".join(clauses),
        values={":now": now, ":active": "active", **values},
        names={"#status": "status"},
    )
    return done, from_item(item) if item else None


def due(now: int) -> Iterator[list[Session]]:
    """The active sessions that the sweeper must look at by ``now``, in batches. Their due time comes from the index.

    The index is sorted by user and not by due time, so this reads the keys of all active sessions.
    """
    for part in keys.active_of_all():
        for batch in table.forward(keys.DUE, part.pk, part.low, part.high, page_size=None):
            due_now = [{"pk": key["pk"], "sk": key["sk"]} for key in batch if keys.is_due(key, now)]
            items = table.get_many(due_now)
            if found := [session for item in items if item and (session := from_item(item)).active]:
                yield found


def to_item(session: Session) -> Item:
    """Convert a session to an item, with the keys of the lists to which the session now belongs."""
    user_id, session_id, started_at = session.user_id, session.session_id, session.started_at
    item: Item = {
        **session.more,
        **keys.session(user_id, session_id),
        **keys.session_of_owner(user_id, session_id, started_at),
        **keys.session_of_all(user_id, session_id, started_at),
        "user_id": user_id,
        "session_id": session_id,
        "account_id": session.account_id,
        "has_metadata": session.has_metadata or None,
        "status": session.status,
        "parts": lots.to_text(session.parts),
        "rates": session.card.to_text(),
        "variant": session.variant,
        "estimated_usage": session.estimated_usage and session.estimated_usage.to_text(),
        "inputs": session.usage and session.usage.inputs.to_text(),
        "output_parts": session.usage and _output_parts(session.usage),
        "counters": budgets.to_text(session.counters),
        "key_id": session.key_id,
        "run_id": session.run_id,
        **{name: getattr(session, name) for name in _PLAIN},
    }
    if session.resolution is None:
        item |= keys.active_session(user_id, session_id, started_at, session.due_at)
    else:
        item |= _settled_to_item("settled", session.resolution)
        item |= _settled_to_item("late", session.late)
        item["ttl"] = (session.resolution.at + settings().session_retention) // 1000
    return item


def from_item(item: Item) -> Session:
    return Session(
        user_id=item["user_id"],
        session_id=item["session_id"],
        account_id=stored(item["account_id"]),
        has_metadata=item.get("has_metadata", False),
        parts=lots.from_text(item["parts"]),
        card=RateCard.from_text(item["rates"]),
        variant=item.get("variant"),
        estimated_usage=_usage(item, "estimated_usage"),
        usage=_known_usage(item),
        counters=budgets.from_text(item.get("counters")),
        key_id=item.get("key_id"),
        run_id=item.get("run_id"),
        resolution=_settled_from_item("settled", item),
        late=_settled_from_item("late", item),
        more=unknown(item, _KNOWN),
        **{name: item[name] for name in _PLAIN},
    )


def _settled_to_item(prefix: str, settled: Settled | None) -> Item:
    if settled is None:
        return {}
    return {
        **{f"{prefix}_{name}": getattr(settled, name) for name in _SETTLED},
        f"{prefix}_usage": settled.usage and settled.usage.to_text(),
        f"{prefix}_model_id": settled.model_id,
    }


def _settled_from_item(prefix: str, item: Item) -> Settled | None:
    if f"{prefix}_outcome" not in item:
        return None
    return Settled(
        **{name: item[f"{prefix}_{name}"] for name in _SETTLED},
        usage=_usage(item, f"{prefix}_usage"),
        model_id=item.get(f"{prefix}_model_id"),
    )


def _usage(item: Item, name: str) -> Usage | None:
    return Usage.from_text(item[name]) if item.get(name) else None


def _output_parts(usage: Usage) -> str:
    return f"{usage.reasoning},{usage.output_audio}"


def _known_usage(item: Item) -> Usage | None:
    inputs = _usage(item, "inputs")
    if inputs is None:
        return None
    reasoning, audio = map(int, item["output_parts"].split(","))
    return inputs._replace(output=item["tokens"], reasoning=reasoning, output_audio=audio)

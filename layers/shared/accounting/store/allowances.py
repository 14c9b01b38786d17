"""A spender's allowance (membership, budgets and run), read together with the account's wallet."""

from accounting.domain.accounts import organization_of, user_of
from accounting.domain.budgets import Allowance, Bound, Counter, Spender
from accounting.domain.errors import AccountingError, AccountNotFound, Invalid, UserDisabled
from accounting.domain.sessions import Session
from accounting.domain.wallet import Wallet
from accounting.store import budgets, keys, organizations, profiles, runs, sessions, table, wallets
from accounting.store.keys import Key
from accounting.store.table import Item

type Items = dict[str, Item | None]


def read(spender: Spender) -> tuple[Wallet, Allowance]:
    """The wallet and the allowance, strongly consistent."""
    wallet, allowance, _ = _read(spender, {})
    return wallet, allowance


def read_with_session(spender: Spender, session_id: str) -> tuple[Wallet, Allowance, Session | None]:
    """The wallet, the allowance and the session, strongly consistent."""
    wallet, allowance, found = _read(spender, {"session": keys.session(spender.user_id, session_id)})
    item = found["session"]
    return wallet, allowance, sessions.from_item(item) if item else None


def _read(spender: Spender, more: dict[str, Key]) -> tuple[Wallet, Allowance, Items]:
    """Read the wallet, the allowance and the items of ``more``.

    For a personal account, a second call reads the budgets if the wallet has any. If a budget changes between the two
    calls, the wallet's version changes too, and a write that was decided with the older wallet is refused.
    """
    account_id, organization_id = spender.account_id, organization_of(spender.account_id)
    wanted = {"wallet": keys.wallet(account_id), **more}
    if spender.run_id is not None:
        wanted["run"] = keys.run(account_id, spender.run_id)
    definitions = {subject: keys.budget(account_id, subject) for subject in spender.subjects}
    if organization_id is not None:
        wanted["member"] = keys.member(organization_id, spender.user_id)
        wanted["profile"] = keys.profile(spender.user_id)
        wanted |= definitions
    found = _get(wanted)
    wallet = wallets.from_item(account_id, found["wallet"])
    if organization_id is None and wallet.budgets:
        found |= _get(definitions)
    return wallet, _allowance(spender, found), found


def _get(wanted: dict[str, Key]) -> Items:
    if len(wanted) == 1:
        return {name: table.get(key) for name, key in wanted.items()}
    return dict(zip(wanted, table.get_many(list(wanted.values())), strict=True))


def _allowance(spender: Spender, found: Items) -> Allowance:
    defined = [budgets.from_item(item) for subject in spender.subjects if (item := found.get(subject))]
    member = found.get("member")
    run = found.get("run")
    return Allowance(
        spender,
        tuple(defined),
        runs.if_whole(run),
        _refusal(spender, found),
        owns_account=member is not None and organizations.member_from_item(member).role == "owner",
    )


def _refusal(spender: Spender, found: Items) -> AccountingError | None:
    """Why the spender may not spend from the account, or None if they may.

    AccountNotFound comes first, so that strangers learn nothing about the account.
    """
    if user_of(spender.account_id) not in (None, spender.user_id):
        return AccountNotFound()
    if "member" in found:
        profile = found["profile"]
        if found["member"] is None:
            return AccountNotFound()
        if profile and profiles.from_item(profile).disabled:
            return UserDisabled()
    if "run" in found and runs.if_whole(found["run"]) is None:
        return Invalid.field("runId", "the account has no such run")
    return None


def with_current_counters(allowance: Allowance, bounds: tuple[Bound, ...]) -> Allowance:
    """Return the allowance with the run and the counters of ``bounds``, as one strongly consistent call reads them."""
    spender = allowance.spender
    counters: list[Counter] = [bound.counter for bound in bounds if bound.counter]
    wanted = [budgets.counter_key(spender, counter) for counter in counters]
    if allowance.run:
        wanted.append(keys.run(spender.account_id, allowance.run.id))
    items = table.get_many(wanted)
    run = items.pop() if allowance.run else None
    known = [(item["committed"], item.get("warned", 0)) if item else (0, 0) for item in items]
    committed = {counter: each for counter, (each, _) in zip(counters, known, strict=True)}
    warned = {counter: each for counter, (_, each) in zip(counters, known, strict=True)}
    return allowance.with_counters(committed, warned)._replace(run=runs.if_whole(run) or allowance.run)

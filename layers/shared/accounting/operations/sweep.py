"""The sweep handles the sessions, wallets and erasures that are due, in batches, until nothing is due or time is up."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from accounting.domain.wallet import Wallet
from accounting.operations import closing, credits, erasing, settling
from accounting.store import erasures as erasure_store
from accounting.store import sessions as session_store
from accounting.store import wallets as wallet_store
from accounting.telemetry import count, logger

WORKERS = 8
"""Threads of one sweep. Each waits for the database most of the time."""


@dataclass
class Swept:
    """What a sweep did. ``complete`` is False if the next sweep must continue."""

    sessions: int = 0
    wallets: int = 0
    credits_expired: int = 0
    users_erased: int = 0
    failures: int = 0
    complete: bool = True


def sweep(now: int, time_left: Callable[[], bool]) -> Swept:
    """End stale sessions, then empty the wallets of closed organizations and expire lots, then continue erasures.

    If time runs out, the next sweep continues. An error with one session, wallet or erasure is logged and counted, and
    does not stop the sweep.
    """
    swept = Swept()
    with ThreadPoolExecutor(WORKERS) as pool:
        for session in _each(
            pool, session_store.due(now), lambda found: settling.sweep(found, now=now), swept, time_left
        ):
            swept.sessions += session is not None
        for expired in _each(
            pool, wallet_store.due(now), lambda found: _empty_and_expire(found, now), swept, time_left
        ):
            swept.wallets += expired > 0
            swept.credits_expired += expired
        for erasure in _each(
            pool, erasure_store.due(now), lambda found: erasing.resume(found, now, time_left), swept, time_left
        ):
            swept.users_erased += erasure.finished_at is not None
            swept.complete = swept.complete and erasure.finished_at is not None
    count("SessionsSwept", swept.sessions)
    count("WalletsExpired", swept.wallets)
    count("SweepFailures", swept.failures)
    return swept


def _empty_and_expire(wallet: Wallet, now: int) -> int:
    """Empty the wallet if its organization is closed, then expire its lots. Return how many credits expired."""
    if wallet.closed:
        closing.sweep(wallet, now)
    return credits.expire(wallet, now)


def _each[T, R](
    pool: ThreadPoolExecutor,
    batches: Iterator[Sequence[T]],
    treat: Callable[[T], R],
    swept: Swept,
    time_left: Callable[[], bool],
) -> Iterator[R]:
    """Call ``treat`` with every item, batch by batch while there is time, and yield the results."""
    for batch in batches:
        if not time_left():
            swept.complete = False
            return
        for treated in [pool.submit(treat, item) for item in batch]:
            try:
                yield treated.result()
            except Exception:
                logger.exception("sweep of one item failed")
                swept.failures += 1

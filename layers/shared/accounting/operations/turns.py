"""How long a refused command waits, so that the commands on one wallet write one after another.

There is no queue. Each command counts the commands that passed it: those that changed the wallet after this command
first read it. A command that writes stores its count in the wallet (``passed``), so the wallet has the count of the
last command that wrote. If a refused command's own count is lower by n, about n other commands have waited longer, and
the refused command lets n go first. So the commands that have waited longest try again without a pause, and the others
pause. A wrong count only changes a pause. The conditions of the writes decide who writes.

All pauses are measured in turns. A turn is as long as the refused attempt took.
"""

from dataclasses import dataclass

from accounting.domain.wallet import Wallet
from accounting.store.stale import StaleRead
from accounting.store.table import Conflict, Throttled, jitter

SHORTEST_TURN_SECONDS = 0.005
LONGEST_WAIT_SECONDS = 2.0
LONGEST_THROTTLED_SECONDS = 0.4

AT_ONCE = 4
"""After more stale reads than this, a command pauses even in its turn, because too many commands have the same turn."""


@dataclass(slots=True)
class Turns:
    """The numbers that decide a command's turn: the wallet's version at the first read, and the command's refusals."""

    version: int
    stale: int = 0
    throttled: int = 0

    def passed(self, wallet: Wallet) -> int:
        """How many commands changed the wallet while this one waited."""
        return wallet.version - self.version

    def pause(self, refusal: StaleRead | Conflict, seconds: float) -> float:
        """How many seconds to wait after an attempt that took ``seconds``.

        After StaleRead, the wait is 0 if it is the command's turn.
        """
        turn = max(seconds, SHORTEST_TURN_SECONDS)
        if isinstance(refusal, Throttled):
            # The table gets too many attempts, so the longest pause doubles each time that it refuses one.
            self.throttled += 1
            return jitter(min(turn * 2**self.throttled, LONGEST_THROTTLED_SECONDS))
        if isinstance(refusal, Conflict):
            return jitter(turn)  # the write in progress takes no longer than a turn
        self.stale += 1
        newest: Wallet | None = refusal.current.get("wallet")
        others = newest.passed - self.passed(newest) if newest else 0
        others = max(others, self.stale - AT_ONCE, 0)
        return min(others * (turn / 2 + jitter(turn)), LONGEST_WAIT_SECONDS)

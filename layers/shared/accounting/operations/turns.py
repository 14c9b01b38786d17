"""How long a command waits if its write was refused, so that the commands on one wallet write one after another.

There is no queue. Each command counts how many other commands have changed the wallet since it first read the wallet.
A command that writes stores its count in the wallet (``passed``). A command whose write is refused compares its count
with the stored count.

If the stored count is higher by n, the command that stored this count began about n changes before the refused command.
Between the two beginnings, about n other commands have probably begun. They have waited longer than the refused
command, and should write first. So the refused command pauses for about n turns. A turn is as long as the refused
attempt took. If the stored count is not higher, the refused command tries again at once.

A wrong count makes a pause too short or too long, and does no other harm: the condition of each write decides whether
the write succeeds.
"""

from dataclasses import dataclass

from accounting.domain.wallet import Wallet
from accounting.store.stale import StaleRead
from accounting.store.table import Conflict, Throttled, jitter

SHORTEST_TURN_SECONDS = 0.005
LONGEST_WAIT_SECONDS = 2.0
LONGEST_THROTTLED_SECONDS = 0.4

AT_ONCE = 4
"""How many stale reads a command may have before it always pauses.

Without this limit, many commands with the same count would all try again at once.
"""


@dataclass(slots=True)
class Turns:
    """What decides a command's pauses: the wallet's version at the first read, and the refusals so far, by cause."""

    version: int
    stale: int = 0
    throttled: int = 0

    def passed(self, wallet: Wallet) -> int:
        """How many commands have changed the wallet since this command first read it."""
        return wallet.version - self.version

    def pause(self, refusal: StaleRead | Conflict, seconds: float) -> float:
        """How many seconds to wait after a refused attempt that took ``seconds``."""
        turn = max(seconds, SHORTEST_TURN_SECONDS)
        if isinstance(refusal, Throttled):
            # The table gets too many requests, so the longest pause doubles with each throttled attempt.
            self.throttled += 1
            return jitter(min(turn * 2**self.throttled, LONGEST_THROTTLED_SECONDS))
        if isinstance(refusal, Conflict):
            return jitter(turn)  # the write that caused the conflict takes no longer than a turn
        self.stale += 1
        newest: Wallet | None = refusal.current.get("wallet")
        others = newest.passed - self.passed(newest) if newest else 0
        others = max(others, self.stale - AT_ONCE, 0)
        return min(others * (turn / 2 + jitter(turn)), LONGEST_WAIT_SECONDS)

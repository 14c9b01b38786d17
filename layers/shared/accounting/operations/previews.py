"""Would a session be opened now? A preview decides as ``sessions.initialize`` does, but holds and writes nothing."""

from typing import NamedTuple

from accounting.domain.budgets import UNLIMITED, Room, Spender
from accounting.domain.errors import AccountingError, BudgetExceeded, InsufficientCredits, Invalid
from accounting.domain.model_usage import Usage
from accounting.domain.pricing import Estimate, with_buffer
from accounting.operations import spending
from accounting.settings import settings
from accounting.store import prices


class Preview(NamedTuple):
    """What opening a session would do: hold ``required`` credits, or raise ``refusal``.

    ``estimated`` is what the estimate costs. ``room`` is what the wallet and each limit have left. It is None
    if the session is refused for another reason than the wallet or a limit.
    """

    spender: Spender
    estimated: int
    required: int
    room: Room | None = None
    refusal: AccountingError | None = None


def preview(
    spender: Spender,
    model_id: str,
    tokens: int,
    *,
    usage: Usage | None,
    variant: str | None,
    refused: AccountingError | None,
    now: int,
) -> Preview:
    """Whether ``spender`` could open a session now, with the arguments of ``sessions.initialize``.

    ``refused`` is the error that refuses the spender's API key, or None. Raises Invalid if the price has no such
    variant or the account has no such run. Raises ModelUnknown as ``prices.card_at`` does.
    """
    estimate = Estimate(prices.card_at(model_id, now, variant), tokens, usage)
    buffered = with_buffer(estimate.credits, settings().hold_buffer_percent)
    if refused:
        return Preview(spender, estimate.credits, buffered, refusal=refused)
    snapshot = spending.read(spender)
    try:
        # A preview needs the current counters of budgets. `room_for` reads them only if the snapshot leaves fewer
        # credits than wanted, so this wants more than any snapshot can leave.
        room = spending.room_for(UNLIMITED, snapshot, now=now)
    except Invalid:
        raise
    except AccountingError as refusal:
        return Preview(spender, estimate.credits, buffered, refusal=refusal)
    try:
        required = spending.hold_in(room, estimate)
    except (BudgetExceeded, InsufficientCredits) as refusal:
        return Preview(spender, estimate.credits, refusal.details["requiredCredits"], room, refusal)
    return Preview(spender, estimate.credits, required, room)

"""Would a session be opened now? This decides as initialize does, but holds and writes nothing."""

from typing import NamedTuple

from accounting.domain.budgets import UNLIMITED, Room, Spender
from accounting.domain.errors import AccountingError, BudgetExceeded, InsufficientCredits, Invalid
from accounting.domain.model_usage import Usage
from accounting.domain.pricing import Estimate, with_buffer
from accounting.operations import spending
from accounting.settings import settings
from accounting.store import prices


class Preview(NamedTuple):
    """The outcome of opening a session: it would hold ``required`` credits, unless there is a ``refusal``.

    ``estimated`` is what the estimate costs. ``room`` is what the wallet and each limit have left. It is None if the
    refusal does not depend on the credits.
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

    ``refused`` is the error that would refuse the spender before this decision, if any. Raises Invalid for a variant
    that the price lacks or a run that the account lacks, and ModelUnknown.
    """
    estimate = Estimate(prices.card_at(model_id, now, variant), tokens, usage)
    buffered = with_buffer(estimate.credits, settings().hold_buffer_percent)
    if refused:
        return Preview(spender, estimate.credits, buffered, refusal=refused)
    snapshot = spending.read(spender)
    try:
        room = spending.room_for(UNLIMITED, snapshot, now=now)  # unlimited, so that the counters of all limits are read
    except Invalid:
        raise
    except AccountingError as refusal:
        return Preview(spender, estimate.credits, buffered, refusal=refusal)
    try:
        required = spending.hold_in(room, estimate)
    except (BudgetExceeded, InsufficientCredits) as refusal:
        return Preview(spender, estimate.credits, refusal.details["requiredCredits"], room, refusal)
    return Preview(spender, estimate.credits, required, room)

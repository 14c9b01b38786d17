"""Many lots, for tests of the size of a wallet."""

import random

from accounting.domain.lots import Lot
from accounting.times import DAY

NOW = 1_800_000_000_000


def mixed_lots(count: int) -> list[Lot]:
    """Lots as a platform grants them: most expire after a month or a year, and a few after less than two weeks."""
    rng = random.Random(count)
    lots, at = [], NOW
    for number in range(1, count + 1):
        at += rng.randrange(1, 3 * DAY) // 1000 * 1000
        life = rng.choice([30 * DAY, 30 * DAY, 365 * DAY])
        if number % 40 == 0:
            life = rng.randrange(10**6) * 1000
        lots.append(Lot(number, rng.choice([1, 25, 500, 10_000]), at + life, at))
    return sorted(lots, key=lambda lot: lot.order)


def different_lots(count: int) -> list[Lot]:
    """Lots whose grants and expiries are all at different instants, which makes their stored text longest."""
    rng = random.Random(count)
    lots, at = [], NOW
    for number in range(1, count + 1):
        at += rng.randrange(1, 3 * DAY) // 1000 * 1000
        life = rng.randrange(DAY, 365 * DAY) // 1000 * 1000
        lots.append(Lot(number, rng.randrange(1, 100_000), at + life, at))
    return sorted(lots, key=lambda lot: lot.order)

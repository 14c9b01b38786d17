"""What a model's usage costs, exactly: rates by class, context tiers, and the one place where costs are rounded.

A class is a kind of usage, such as input tokens, cached input tokens or web searches. A rate is the price of a million
tokens, or of a thousand requests or web searches, as an integer number of millionths of a credit. No float ever touches
money.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

from accounting.domain.model_usage import MAX_COUNT, Usage

RATE_SCALE = 10**6
"""A rate of one credit for a million tokens."""

AMOUNT_SCALE = 10**12
"""One credit as an exact amount. An exact amount of 1 is the cost of one token at the rate 1."""

_THOUSANDS = 1000
"""A million divided by a thousand: rates of tokens are for a million, rates of requests and searches for a thousand."""


class Rates(NamedTuple):
    """Rates by class.

    Some classes are parts of another class, the whole: ``cached_input`` is a part of ``input`` (see ``WHOLES``). If the
    rate of a part is None, the rate of its whole applies. Requests and web searches whose rate is None are free.
    """

    input: int | None = None
    output: int | None = None
    cached_input: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    input_audio: int | None = None
    reasoning: int | None = None
    output_audio: int | None = None
    request: int | None = None
    web_search: int | None = None

    def over(self, base: "Rates") -> "Rates":
        """These rates, with the rate of ``base`` for every class whose rate is None here."""
        return Rates(*(theirs if mine is None else mine for mine, theirs in zip(self, base, strict=True)))


class Tier(NamedTuple):
    """Rates for the whole of a request that has more than ``above_input`` input tokens.

    For a class whose rate is None here, the base rate of the ``RateCard`` applies.
    """

    above_input: int
    rates: Rates


class Line(NamedTuple):
    """One class of a usage: how many, at which rate, and the exact amount."""

    name: str
    units: int
    rate: int
    amount: int


WHOLES: Mapping[str, str] = {
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_1h": "input",
    "input_audio": "input",
    "reasoning": "output",
    "output_audio": "output",
}
"""Each part of a usage, and its whole: cached input tokens are also counted as input tokens."""


class RateCard(NamedTuple):
    """The rates that price a request: the base rates, and the context tiers in rising order."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()

    @classmethod
    def flat(cls, rate: int) -> Self:
        """One rate for input and output."""
        return cls(Rates(rate, rate))

    def over(self, other: "RateCard") -> "RateCard":
        """This card, with the base rate of ``other`` for every class that has no base rate here.

        The tiers of ``other`` are left out.
        """
        return RateCard(self.rates.over(other.rates), self.tiers)

    def all_rates(self) -> Iterator[Rates]:
        yield self.rates
        yield from (tier.rates for tier in self.tiers)

    def tier_of(self, input_tokens: int) -> Tier | None:
        """The tier for a request with this many input tokens, if there is one."""
        return next((tier for tier in reversed(self.tiers) if input_tokens > tier.above_input), None)

    def rates_of(self, input_tokens: int) -> Rates:
        """The rates for a request with this many input tokens: a tier applies to the whole request."""
        tier = self.tier_of(input_tokens)
        return tier.rates.over(self.rates) if tier else self.rates

    def lines(self, usage: Usage) -> Iterator[Line]:
        """What each class of the usage costs, without the classes whose count is 0."""
        rates = self.rates_of(usage.input)
        counts = usage._asdict()
        for part, whole in WHOLES.items():
            counts[whole] -= counts[part]
        for name, count in counts.items():
            if count:
                rate = _rate(rates, name)
                factor = _THOUSANDS if name in _PER_THOUSAND else 1
                yield Line(name, count, rate, count * rate * factor)

    def amount(self, usage: Usage) -> int:
        """What the usage costs, exactly: ``AMOUNT_SCALE`` is one credit."""
        return sum(line.amount for line in self.lines(usage))

    def cost(self, usage: Usage) -> int:
        """What the usage costs in credits, rounded up once."""
        return rounded_up(self.amount(usage))

    @property
    def number_rate(self) -> int:
        """The rate of tokens whose classes are unknown: the higher of the input and output rates."""
        return max(self.rates.input or 0, self.rates.output or 0)

    def cost_of_number(self, tokens: int) -> int:
        """What this number of tokens costs in credits if their classes are unknown."""
        return rounded_up(tokens * self.number_rate)

    def number_within(self, credits: int) -> int:
        """The most tokens of unknown classes that cost no more than ``credits``; at most ``MAX_COUNT``."""
        return _within(credits * AMOUNT_SCALE, self.number_rate)

    def output_within(self, credits: int, usage: Usage) -> int:
        """The most output tokens that ``credits`` cover after they pay for the usage's inputs.

        After the inputs, the credits pay for the usage's reasoning and audio output, and then for plain output. If they
        do not cover the reasoning and audio output, every output token counts at the rate of reasoning or the rate of
        audio output, whichever is higher. If they do not cover the inputs, the result is -1.
        """
        rates, budget = self.rates_of(usage.input), credits * AMOUNT_SCALE
        parts = usage.reasoning + usage.output_audio
        left = budget - self.amount(usage.with_output(parts))
        if left >= 0:
            return min(MAX_COUNT, parts + _within(left, _rate(rates, "output")))
        left = budget - self.amount(usage.inputs)
        highest_rate = max(_rate(rates, name) for name in ("reasoning", "output_audio"))
        return -1 if left < 0 else _within(left, highest_rate)

    def fitting_output(self, credits: int, usage: Usage) -> int:
        """The most output tokens that ``credits`` surely cover after the usage's inputs.

        If ``credits`` cover the whole usage, they may pay for more output than the usage has. The classes of the
        additional output are unknown, so it counts at the highest output rate. If ``credits`` do not cover the whole
        usage, all output counts at that rate. If they do not cover the inputs, the result is -1.
        """
        rates = self.rates_of(usage.input)
        highest_rate = max(_rate(rates, name) for name in ("output", "reasoning", "output_audio"))
        left = credits * AMOUNT_SCALE - self.amount(usage)
        if left >= 0:
            return min(MAX_COUNT, usage.output + _within(left, highest_rate))
        left = credits * AMOUNT_SCALE - self.amount(usage.inputs)
        return -1 if left < 0 else _within(left, highest_rate)

    def to_text(self) -> str:
        """The card as a short text: the rates in the order of their fields, then each tier after a semicolon."""
        tiers = (f"{tier.above_input}:{_to_text(tier.rates)}" for tier in self.tiers)
        return ";".join([_to_text(self.rates), *tiers])

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The card in a text that ``to_text`` made."""
        base, *tiers = text.split(";")
        found = (tier.split(":") for tier in tiers)
        return cls(_from_text(base), tuple(Tier(int(above), _from_text(rates)) for above, rates in found))


def rounded_up(amount: int) -> int:
    """An exact amount in whole credits, rounded up. Costs are rounded nowhere else."""
    return -(-amount // AMOUNT_SCALE)


RATE_NAMES = {"requests": "request", "web_searches": "web_search"}
"""The count's name in ``Usage`` → the rate's name in ``Rates``, where they differ."""

_PER_THOUSAND = ("requests", "web_searches")


def _rate(rates: Rates, name: str) -> int:
    named: int | None = getattr(rates, RATE_NAMES.get(name, name))
    if named is None and name in WHOLES:
        named = getattr(rates, WHOLES[name])
    return named or 0


def _within(amount: int, rate: int) -> int:
    return MAX_COUNT if rate == 0 else min(MAX_COUNT, amount // rate)


def _to_text(rates: Rates) -> str:
    return ",".join("" if rate is None else str(rate) for rate in rates).rstrip(",")


def _from_text(text: str) -> Rates:
    return Rates(*(int(rate) if rate else None for rate in text.split(",")))

"""The usage of a model call in requests and responses.

In a request, ``usage`` has the canonical form (the fields of ``UsageView``) or, with ``usageFormat``, the form in
which the provider sent it.
"""

import json
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import AfterValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from accounting.domain.model_usage import JSON_NAMES, MAX_COUNT, Usage
from accounting.domain.usage_formats import CANONICAL, read
from accounting.web.types import ResponseModel, left_out, require_depth

MAX_USAGE_BYTES = 16 * 1024
MAX_KEPT_BYTES = 2048


class UsageView(ResponseModel):
    """The usage of a model call. ``inputTokens`` and ``outputTokens`` include all other token counts."""

    input_tokens: int = Field(description="All input tokens")
    cached_input_tokens: int | None = left_out("The part of the input that was read from a cache")
    cache_write_tokens: int | None = left_out(
        "The part of the input that was written to a cache, without `cacheWrite1hTokens`"
    )
    cache_write_1h_tokens: Annotated[int | None, Field(alias="cacheWrite1hTokens")] = left_out(
        "The part of the input that was written to a cache for an hour"
    )
    input_audio_tokens: int | None = left_out("The part of the input that is audio and did not come from a cache")
    output_tokens: int = Field(description="All output tokens")
    reasoning_tokens: int | None = left_out("The part of the output that is reasoning")
    output_audio_tokens: int | None = left_out("The part of the output that is audio")
    requests: int | None = left_out("How many requests the call took; 1 by default")
    web_searches: int | None = left_out("How many web searches the provider made")

    @classmethod
    def of(cls, usage: Usage) -> Self:
        """Build the response from a usage. Counts of 0 are left out, except ``inputTokens`` and ``outputTokens``."""
        shown = {name: getattr(usage, attribute) or None for name, attribute in JSON_NAMES.items()}
        return cls.model_validate(shown | {"inputTokens": usage.input, "outputTokens": usage.output})


def _bounded(usage: dict[str, Any]) -> dict[str, Any]:
    require_depth(usage)
    if len(_compact(usage).encode(errors="surrogatepass")) > MAX_USAGE_BYTES:
        raise ValueError(f"at most {MAX_USAGE_BYTES} bytes of JSON in UTF-8, without blanks")
    return usage


def _schema() -> dict[str, Any]:
    """The JSON schema of the canonical form, with a description of each count."""
    counts = UsageView.model_json_schema()["properties"]
    described = {name: {"description": each["description"], **_COUNT} for name, each in counts.items()}
    return {
        "type": "object",
        "properties": described,
        "required": ["inputTokens", "outputTokens"],
        "additionalProperties": False,
    }


_COUNT = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}

_PROVIDERS = {"type": "object", "description": "The usage as the provider sent it; `usageFormat` names its format"}


class _Described:
    """The JSON schema of a usage. Making it takes 1 % of a cold start, so it is made only for the OpenAPI document."""

    def __init__(self, *others: dict[str, Any]) -> None:
        self._others = others

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [_schema(), *self._others]} if self._others else _schema()


UsageObject = Annotated[dict[str, Any], AfterValidator(_bounded), _Described(_PROVIDERS)]
"""A usage in the canonical form, or as its provider sent it."""
CanonicalUsage = Annotated[dict[str, Any], AfterValidator(_bounded), _Described()]
"""A usage in the canonical form."""
UsageFormat = Literal["canonical", "openai", "openai-responses", "anthropic", "bedrock", "gemini", "otel"]
Variant = Annotated[str, Field(strict=True, pattern=r"^[a-z0-9_-]{1,32}$")]
"""The name of a variant of a model's price, such as ``batch`` or ``priority``."""


def usage_view(usage: Usage | None) -> UsageView | None:
    """The usage as a response shows it. None if only a number of tokens is known."""
    return None if usage is None else UsageView.of(usage)


class HasUsage(Protocol):
    """The body of a request that may have a usage."""

    @property
    def usage(self) -> dict[str, Any] | None: ...
    @property
    def usage_format(self) -> UsageFormat | None: ...


def usage_in(body: HasUsage) -> tuple[Usage, dict[str, Any] | None] | None:
    """The usage in a body, and the object that the provider sent (None for a canonical usage).

    Returns None if the body has no usage. Raises Invalid if the usage does not fit its format.
    """
    if body.usage is None:
        return None
    usage_format = body.usage_format or CANONICAL
    return read(usage_format, body.usage), None if usage_format == CANONICAL else body.usage


def storable(raw: dict[str, Any]) -> dict[str, Any] | None:
    """The provider's object in the form to store; None if it is too large, or cannot be written in UTF-8."""
    text = _compact(raw)
    try:
        small = len(text.encode()) <= MAX_KEPT_BYTES
    except UnicodeEncodeError:
        return None
    return json.loads(text) if small else None


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_fraction)


def _fraction(number: Decimal) -> float | str:
    """A fraction as a double, or as text if a double would change its digits."""
    double = float(number)
    return double if Decimal(repr(double)) == number else str(number)

"""The usage objects of providers, each read into a ``Usage``.

The canonical format is strict: every name must be known. In a provider's object, unknown names are ignored, and
optional parts may be absent or null. A field that belongs to another format is refused, so that an object whose
caller states the wrong format is not billed wrongly. If the field's value is 0, null or empty, it is ignored, because
gateways send the fields of several formats and fill only some of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from accounting.domain.errors import Invalid
from accounting.domain.model_usage import JSON_NAMES, MAX_COUNT, Usage, checked, too_small


class _Format(NamedTuple):
    """Where a provider's usage object has its counts, and what they mean.

    A count is the sum of the values at its paths. ``list[name=value].path`` means ``path`` in every object of ``list``
    whose ``name`` is ``value``. Three counts are not fields of ``Usage``: ``written`` is everything that was written to
    the cache, ``cached_audio`` is the part of ``input_audio`` that came from the cache, and ``total`` is the provider's
    total.
    """

    requires: tuple[str, ...]
    counts: Mapping[str, tuple[str, ...]]
    forbids: tuple[str, ...] = ()
    input_excludes_cache: bool = False


_PROVIDERS = {
    "openai": _Format(
        requires=("prompt_tokens", "completion_tokens"),
        counts={
            "input": ("prompt_tokens",),
            "output": ("completion_tokens",),
            "cached_input": ("prompt_tokens_details.cached_tokens",),
            "written": ("prompt_tokens_details.cache_write_tokens",),
            "input_audio": ("prompt_tokens_details.audio_tokens",),
            "cached_audio": ("prompt_tokens_details.cached_tokens_details.audio_tokens",),
            "reasoning": ("completion_tokens_details.reasoning_tokens",),
            "output_audio": ("completion_tokens_details.audio_tokens",),
            "total": ("total_tokens",),
        },
    ),
    "openai-responses": _Format(
        requires=("input_tokens", "output_tokens", "total_tokens"),
        forbids=(
            *("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "server_tool_use"),
            *("input_token_details", "output_token_details"),  # names of OpenAI's realtime API and LangChain
        ),
        counts={
            "input": ("input_tokens",),
            "output": ("output_tokens",),
            "cached_input": ("input_tokens_details.cached_tokens",),
            "written": ("input_tokens_details.cache_write_tokens",),
            "reasoning": ("output_tokens_details.reasoning_tokens",),
        },
    ),
    "anthropic": _Format(
        requires=("input_tokens", "output_tokens"),
        forbids=("total_tokens", "input_tokens_details", "input_token_details", "output_token_details"),
        # A compaction summarizes a context that grew too long. The top-level counts do not include compactions.
        # Anthropic does not report how much of a compaction's output was reasoning.
        counts={
            "input": ("input_tokens", "iterations[type=compaction].input_tokens"),
            "output": ("output_tokens", "iterations[type=compaction].output_tokens"),
            "cached_input": ("cache_read_input_tokens", "iterations[type=compaction].cache_read_input_tokens"),
            "written": ("cache_creation_input_tokens", "iterations[type=compaction].cache_creation_input_tokens"),
            "cache_write": (
                "cache_creation.ephemeral_5m_input_tokens",
                "iterations[type=compaction].cache_creation.ephemeral_5m_input_tokens",
            ),
            "cache_write_1h": (
                "cache_creation.ephemeral_1h_input_tokens",
                "iterations[type=compaction].cache_creation.ephemeral_1h_input_tokens",
            ),
            "reasoning": ("output_tokens_details.thinking_tokens",),
            "web_searches": ("server_tool_use.web_search_requests",),
        },
        input_excludes_cache=True,
    ),
    "bedrock": _Format(
        requires=("inputTokens", "outputTokens", "totalTokens"),
        forbids=tuple(name for name in JSON_NAMES if name not in ("inputTokens", "outputTokens")),
        counts={
            "input": ("inputTokens",),
            "output": ("outputTokens",),
            "cached_input": ("cacheReadInputTokens",),
            "written": ("cacheWriteInputTokens",),
            "cache_write": ("cacheDetails[ttl=5m].inputTokens",),
            "cache_write_1h": ("cacheDetails[ttl=1h].inputTokens",),
        },
        input_excludes_cache=True,
    ),
    "gemini": _Format(
        requires=("promptTokenCount",),
        # The live API says "response" instead of "candidates".
        counts={
            "input": ("promptTokenCount", "toolUsePromptTokenCount"),
            "output": ("candidatesTokenCount", "responseTokenCount", "thoughtsTokenCount"),
            "cached_input": ("cachedContentTokenCount",),
            "input_audio": (
                "promptTokensDetails[modality=AUDIO].tokenCount",
                "toolUsePromptTokensDetails[modality=AUDIO].tokenCount",
            ),
            "cached_audio": ("cacheTokensDetails[modality=AUDIO].tokenCount",),
            "reasoning": ("thoughtsTokenCount",),
            "output_audio": (
                "candidatesTokensDetails[modality=AUDIO].tokenCount",
                "responseTokensDetails[modality=AUDIO].tokenCount",
            ),
        },
    ),
    "otel": _Format(
        requires=("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
        counts={
            "input": ("gen_ai.usage.input_tokens",),
            "output": ("gen_ai.usage.output_tokens",),
            "cached_input": ("gen_ai.usage.cache_read.input_tokens",),
            "written": ("gen_ai.usage.cache_write.input_tokens",),
            "cache_write": ("gen_ai.usage.cache_creation.input_tokens",),  # in older versions
            "input_audio": ("gen_ai.usage.audio.input_tokens",),
            "cached_audio": ("gen_ai.usage.audio.cache_read.input_tokens",),
            "reasoning": ("gen_ai.usage.reasoning.output_tokens",),
            "output_audio": ("gen_ai.usage.audio.output_tokens",),
        },
    ),
}
_INPUTS = [form.requires[0] for form in _PROVIDERS.values()]
"""The field with the input tokens in each provider's format. An object with another format's field is refused."""

CANONICAL = "canonical"
FORMATS = (CANONICAL, *_PROVIDERS)


def read(usage_format: str, raw: Mapping[str, object], field: str = "usage") -> Usage:
    """The usage that an object in this format describes.

    Raises Invalid for an unknown format, a missing name, a count of another format, a value of the wrong type, a count
    that is not between 0 and ``MAX_COUNT``, and parts that exceed the whole. The error names the field as the caller's
    format names it.
    """
    if usage_format not in FORMATS:
        raise Invalid.field("usageFormat", f"must be one of {', '.join(FORMATS)}")
    if usage_format == CANONICAL:
        return _read_canonical(raw, field)
    form = _PROVIDERS[usage_format]
    _require(form.requires, raw, field, usage_format)
    for name in (*form.forbids, *_INPUTS):
        if name not in form.requires and _at(raw, name, field):
            raise Invalid.field(f"{field}.{name}", f"is not part of the format {usage_format}")
    return _read_provider(form, raw, field)


def _read_canonical(raw: Mapping[str, object], field: str) -> Usage:
    for name in raw:
        if name not in JSON_NAMES:
            readable = name.encode(errors="backslashreplace").decode()  # a name may contain half a surrogate pair
            raise Invalid.field(f"{field}.{readable}", "unknown field")
    _require(("inputTokens", "outputTokens"), raw, field, CANONICAL)
    counts = {JSON_NAMES[name]: _count(value, f"{field}.{name}") for name, value in raw.items() if value is not None}
    return checked(Usage(**counts), field)


def _read_provider(form: _Format, raw: Mapping[str, object], field: str) -> Usage:
    found = {name: [*_counts(raw, paths, field)] for name, paths in form.counts.items()}
    sums = defaultdict(int, {name: sum(counts) for name, counts in found.items()})
    path_of = {name: f"{field}.{paths[0]}" for name, paths in form.counts.items()}

    by_lifetime = sums["cache_write"] + sums["cache_write_1h"]
    written = sums["written"] if found.get("written") else by_lifetime
    if by_lifetime > written:
        raise too_small(path_of["written"], by_lifetime)
    sums["cache_write"] = written - sums["cache_write_1h"]

    if form.input_excludes_cache:
        sums["input"] += sums["cached_input"] + written
    # OpenAI's `completion_tokens` include reasoning. xAI uses the same format, but its `completion_tokens` leave out
    # reasoning, and its `total_tokens` include it.
    if "total" in found and sums["total"] == sums["input"] + sums["output"] + sums["reasoning"]:
        sums["output"] += sums["reasoning"]

    for whole, part in (("input", "input_audio"), ("input_audio", "cached_audio")):
        if sums[part] > sums[whole]:
            raise too_small(path_of[whole], sums[part])
    # A provider's count of input audio includes cached audio. `Usage.input_audio` does not, so cached audio is
    # subtracted. `room` is the input that was neither read from the cache nor written to it. A provider that does not
    # report cached audio can count more audio than that, so `room` is the maximum.
    room = max(0, sums["input"] - sums["cached_input"] - written)
    sums["input_audio"] = min(sums["input_audio"] - sums["cached_audio"], room)

    usage = Usage(**{name: sums[name] for name in Usage._fields if name != "requests"})
    return checked(usage, field, {form.counts[whole][0]: whole for whole in ("input", "output")})


def _require(names: Iterable[str], raw: Mapping[str, object], field: str, usage_format: str) -> None:
    for name in names:
        if _at(raw, name, field) is None:
            raise Invalid.field(f"{field}.{name}", f"is required in the format {usage_format}")


def _counts(raw: Mapping[str, object], paths: Iterable[str], field: str) -> Iterator[int]:
    """The counts at these paths. Paths that the object does not have are skipped."""
    for path in paths:
        entries, _, condition = path.partition("[")
        if condition:
            condition, _, rest = condition.partition("].")
            label, _, wanted = condition.partition("=")
            for index, entry in enumerate(_entries(raw, entries, field)):
                if entry.get(label) == wanted:
                    yield from _counts(entry, (rest,), f"{field}.{entries}.{index}")
        elif (value := _at(raw, path, field)) is not None:
            yield _count(value, f"{field}.{path}")


def _entries(raw: Mapping[str, object], name: str, field: str) -> list[Mapping[str, object]]:
    entries = raw.get(name)
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise Invalid.field(f"{field}.{name}", "must be a list")
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise Invalid.field(f"{field}.{name}.{index}", "must be an object")
    return entries


def _at(raw: Mapping[str, object], path: str, field: str) -> object:
    """The value at a path, or None. The whole path can be one name, because names in the format ``otel`` have dots."""
    if path in raw:
        return raw[path]
    step, _, rest = path.partition(".")
    inner = raw.get(step)
    if inner is None:
        return None
    if not isinstance(inner, Mapping):
        raise Invalid.field(f"{field}.{step}", "must be an object")
    return _at(inner, rest, f"{field}.{step}")


def _count(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise Invalid.field(name, f"must be an integer between 0 and {MAX_COUNT}")
    return value

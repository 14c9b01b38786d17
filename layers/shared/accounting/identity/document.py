"""The JSON document of the issuers: whose tokens are accepted, where their keys are, and what their claims mean."""

import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import permutations
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.alias_generators import to_camel

MAX_ISSUERS = 20
MAX_NAMES = 100
LOOPBACK = ("127.0.0.1", "localhost")

type Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Only algorithms with public keys: an issuer never shares a secret with the service."""
type Text = Annotated[str, Field(min_length=1, max_length=500)]
type Texts = Annotated[tuple[Text, ...], Field(strict=False, min_length=1, max_length=MAX_NAMES)]
type Path = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/@$-]{1,200}$")]
"""The name of a claim, or a dotted path to it.

The message of a refusal can contain the path. The gateway writes the message into JSON without escaping it, so only
these characters are accepted.
"""
type Role = Literal["user", "supervisor", "admin"]


def _key_address(url: str) -> str:
    """Return ``url`` unchanged. Raises ValueError, with the reason, if keys may not be fetched from there."""
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0 or parts.username is not None or parts.fragment:
        raise ValueError("must be an address without a user name or a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError("must begin with https://")
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError("must be written in printable ASCII characters without spaces")
    return url


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True)


class ClaimNames(_Part):
    """The claims that have the user's id, e-mail address, name and role.

    ``user_id_prefix`` is put before the value of the claim that ``user_id`` names. ``email_verified`` names the claim
    that says whether the address is verified. If the issuer verifies every address, ``email_verified`` is True instead.
    ``email`` requires ``email_verified``: a grant to an address goes to the user who has the address, so nobody may
    have an address of somebody else.
    """

    user_id: Path = "sub"
    user_id_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:|@-]{0,32}$")] = ""
    email: Path | None = None
    email_verified: Path | Literal[True] | None = None
    name: Path | None = None
    role: Path | None = None

    @model_validator(mode="after")
    def _an_address_is_verified(self) -> Self:
        if (self.email is None) != (self.email_verified is None):
            raise ValueError("email and emailVerified must be given together")
        return self


class Issuer(_Part):
    """An identity provider. Its tokens must have one of ``audience`` in the claim that ``audience_claim`` names."""

    issuer: Text
    jwks_url: Annotated[Text, AfterValidator(_key_address)]
    algorithms: Annotated[tuple[Algorithm, ...], Field(strict=False, min_length=1)]
    audience: Texts
    audience_claim: Literal["aud", "azp", "client_id"] = "aud"
    require: dict[Path, Text] = Field(default_factory=dict, max_length=MAX_NAMES)
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    claims: ClaimNames = ClaimNames()
    roles: dict[Text, Role] = Field(default_factory=dict, max_length=MAX_NAMES)

    @model_validator(mode="after")
    def _roles_have_a_claim(self) -> Self:
        if bool(self.roles) != (self.claims.role is not None):
            raise ValueError("claims.role and roles must be given together")
        return self


_DOCUMENT: TypeAdapter[tuple[Issuer, ...]] = TypeAdapter(
    Annotated[tuple[Issuer, ...], Field(strict=False, max_length=MAX_ISSUERS)]
)


class InvalidDocument(ValueError):
    """The document cannot be used. The message says what is wrong and where, without any of the document's values."""


@lru_cache(maxsize=1)
def parse(text: str) -> Mapping[str, Issuer]:
    """The issuers of a document by the ``iss`` of their tokens. Raises InvalidDocument."""
    try:
        found = _DOCUMENT.validate_json(text)
    except ValidationError as error:
        raise InvalidDocument("; ".join(map(_problem, error.errors(include_url=False)))) from None
    json.loads(text, object_pairs_hook=_require_names_once)
    issuers = {each.issuer: each for each in found}
    if len(issuers) < len(found):
        raise InvalidDocument("two issuers have the same name")
    _require_users_apart([each.claims.user_id_prefix for each in found])
    return issuers


def _problem(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc'])) or 'the document'}: {error['msg']}"


def _require_names_once(members: list[tuple[str, Any]]) -> None:
    """Raise InvalidDocument if an object has a name twice, because all values but the last would be lost."""
    if len(dict(members)) < len(members):
        raise InvalidDocument("an object has the same name twice")


def _require_users_apart(prefixes: list[str]) -> None:
    """Raise InvalidDocument if users of two issuers could have the same id.

    With the prefixes ``a`` and ``ab``, the subjects ``bc`` and ``c`` would both get the id ``abc``.
    """
    if any(other.startswith(prefix) for prefix, other in permutations(prefixes, 2)):
        raise InvalidDocument("with several issuers, no userIdPrefix may be empty, or the beginning of another")

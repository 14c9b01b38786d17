"""Service credentials, with which a service of the platform acts for users. Administrators manage them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from accounting_client.call import Call, Done, Listing, Page, as_, command, identifier, json_fields, paged, path


@dataclass(frozen=True)
class ServiceCredentialInfo:
    """A credential, without its secrets. ``previous_ends_at`` is the end of the previous secret."""

    id: str
    name: str
    rights: tuple[str, ...]
    created_at: datetime
    rotated_at: datetime | None = None
    previous_ends_at: datetime | None = None


@dataclass(frozen=True)
class IssuedServiceCredential:
    """A service credential with a new secret. ``credential`` contains it, but is None in the answer to a repeat."""

    id: str
    name: str
    rights: tuple[str, ...]
    created_at: datetime
    message: str
    rotated_at: datetime | None = None
    previous_ends_at: datetime | None = None
    credential: str | None = None
    replayed: bool = False


@dataclass(frozen=True)
class _Services:
    services: tuple[ServiceCredentialInfo, ...]
    next_cursor: str | None = None


def create_service_credential(
    name: str, rights: Sequence[str], *, idempotency_key: str | None = None
) -> Call[IssuedServiceCredential]:
    """Make a credential for a service. Rights: sessions, usage, read, users:sync, credits:grant.

    If the answer is lost, the repeat cannot show the secret: ``credential`` is None. Delete the service credential by
    the ``id`` in the repeat's answer, and make another. Raises TooManyServiceCredentials, IdempotencyConflict.
    """
    body = json_fields(name=name, rights=_array(rights))
    return command("POST", "/api/service-credentials", IssuedServiceCredential, body, idempotency_key)


def service_credentials_page(
    *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[ServiceCredentialInfo]]:
    """A page of the service credentials, newest first. ``limit`` is 1 to 100, by default 100."""
    query = json_fields(limit=limit, cursor=cursor)
    reads = paged(_Services, lambda page: page.services)
    return Call("GET", "/api/service-credentials", reads, query=query, repeatable=True)


def service_credentials(*, page_size: int = 100) -> Listing[ServiceCredentialInfo]:
    """List the service credentials, newest first."""
    return lambda cursor: service_credentials_page(limit=page_size, cursor=cursor)


def change_service_credential(
    credential_id: str,
    *,
    name: str | None = None,
    rights: Sequence[str] | None = None,
    end_previous: bool | None = None,
) -> Call[ServiceCredentialInfo]:
    """Change a credential's name or rights, or end the older one of two valid secrets.

    Raises ServiceCredentialNotFound.
    """
    body = json_fields(name=name, rights=_array(rights), end_previous=end_previous)
    target = path("/api/service-credentials/{}", identifier(credential_id))
    return Call("PUT", target, as_(ServiceCredentialInfo), body=body, repeatable=True)


def rotate_service_credential(
    credential_id: str,
    *,
    overlap_hours: int | None = None,
    keep: Literal["current", "previous"] | None = None,
    idempotency_key: str | None = None,
) -> Call[IssuedServiceCredential]:
    """Make a new secret. The current one stays valid for ``overlap_hours`` more, by default 24.

    If the answer is lost, the repeat cannot show the secret: ``credential`` is None. Rotate again with
    ``keep="previous"``, which keeps the secret that your service still uses. Raises ServiceCredentialNotFound,
    IdempotencyConflict.
    """
    body = json_fields(overlap_hours=overlap_hours, keep=keep)
    target = path("/api/service-credentials/{}/rotate", identifier(credential_id))
    return command("POST", target, IssuedServiceCredential, body, idempotency_key)


def delete_service_credential(credential_id: str) -> Call[Done]:
    """Delete a credential with its secrets. Raises ServiceCredentialNotFound."""
    return Call("DELETE", path("/api/service-credentials/{}", identifier(credential_id)), as_(Done))


def _array(rights: Sequence[str] | None) -> list[str] | None:
    return None if rights is None else list(rights)

"""Service credentials. They let services of the platform act for users, as the rights of each credential allow."""

import accounting.cold_start  # noqa: F401 - it makes the imports below faster

from typing import Literal, Self

from accounting.domain.errors import Invalid
from accounting.domain.service_credentials import DEFAULT_OVERLAP_HOURS, ServiceCredential
from accounting.operations import service_credentials as operations
from accounting.operations.service_credentials import Issued
from accounting.store import service_credentials
from accounting.times import HOUR, clock, iso
from accounting.web.access import ADMINS
from accounting.web.api import Api, handler_of
from accounting.web.idempotency import REPLAYED_HEADER, key_of
from accounting.web.paging import MAX_LIMIT, Cursor, Limit, cursor_of, position_in
from accounting.web.types import (
    IdentifierInPath,
    Instant,
    KeyName,
    OverlapHours,
    RequestModel,
    ResponseModel,
    Rights,
    StrictFlag,
    left_out,
)

api = Api()


class CreateService(RequestModel):
    """A service, and what it may do for users."""

    name: KeyName
    rights: Rights


class ChangeService(RequestModel):
    """What to change about a credential. If two secrets are valid, ``endPrevious`` ends the older one."""

    name: KeyName | None = None
    rights: Rights | None = None
    end_previous: StrictFlag | None = None


class RotateService(RequestModel):
    """Which older secret stays valid besides the new one, and for how long.

    ``overlapHours`` is 24 by default. With 0, only the new secret is valid. ``keep`` is the older secret that stays
    valid: ``current``, the default, is the newest secret before this rotation, and ``previous`` is the one before
    ``current``. Send ``previous`` if the answer with the ``current`` secret was lost, so the service still uses the
    ``previous`` one. The ``previous`` secret must still be valid.
    """

    overlap_hours: OverlapHours | None = None
    keep: Literal["current", "previous"] | None = None


class ServiceView(ResponseModel):
    """A credential, without its secrets. ``previousEndsAt`` is present while an older secret is valid."""

    id: str
    name: str
    rights: tuple[str, ...]
    created_at: Instant
    rotated_at: Instant | None
    previous_ends_at: Instant | None = left_out()

    @classmethod
    def of(cls, credential: ServiceCredential, now: int) -> Self:
        """Build the response from a credential."""
        previous = credential.previous_at(now)
        return cls(
            id=credential.id,
            name=credential.name,
            rights=credential.rights,
            created_at=iso(credential.created_at),
            rotated_at=None if credential.rotated_at is None else iso(credential.rotated_at),
            previous_ends_at=iso(previous.ends_at) if previous else None,
        )


class IssuedView(ServiceView):
    """A credential with a new secret in ``credential``. A repeat of the request gets an answer without that field."""

    credential: str | None = left_out()
    message: str


class ServicesView(ResponseModel):
    """A page of service credentials, newest first."""

    services: list[ServiceView]
    next_cursor: str | None = left_out()


class DeletedView(ResponseModel):
    """A confirmation."""

    message: str


@api.post(
    "/api/service-credentials",
    status_code=201,
    access=ADMINS,
    idempotency="service-credentials",
    codes=("TOO_MANY_SERVICE_CREDENTIALS",),
)
def create(body: CreateService) -> IssuedView:
    """Create a service credential."""
    return _issued(operations.create(body.name, body.rights, now=clock(), key=key_of(api, body)))


@api.get("/api/service-credentials", access=ADMINS)
def list_services(limit: Limit = MAX_LIMIT, cursor: Cursor = None) -> ServicesView:
    """List the service credentials, newest first."""
    found, position = service_credentials.newest(before=position_in(cursor), limit=limit)
    return ServicesView(
        services=[ServiceView.of(each, clock()) for each in found],
        next_cursor=cursor_of(position) if position else None,
    )


@api.put("/api/service-credentials/<credential_id>", access=ADMINS, codes=("SERVICE_CREDENTIAL_NOT_FOUND",))
def change(credential_id: IdentifierInPath, body: ChangeService) -> ServiceView:
    """Change a service credential's name or rights, or end its previous secret. This takes effect within 30 seconds."""
    if body.name is None and body.rights is None and not body.end_previous:
        raise Invalid("Nothing to change: send name, rights or endPrevious")
    changed = service_credentials.change(
        credential_id, name=body.name, rights=body.rights, end_previous=bool(body.end_previous)
    )
    return ServiceView.of(changed, clock())


@api.post(
    "/api/service-credentials/<credential_id>/rotate",
    access=ADMINS,
    idempotency="rotate",
    codes=("SERVICE_CREDENTIAL_NOT_FOUND",),
)
def rotate(credential_id: IdentifierInPath, body: RotateService | None = None) -> IssuedView:
    """Make a new secret for a service credential. One older secret stays valid for a while."""
    wanted = body or RotateService()
    key = key_of(api, wanted)
    hours = DEFAULT_OVERLAP_HOURS if wanted.overlap_hours is None else wanted.overlap_hours
    issued = operations.rotate(
        credential_id,
        overlap=hours * HOUR,
        keep_previous=wanted.keep == "previous",
        now=clock(),
        key=key and key._replace(route=f"{key.route}#{credential_id}"),
    )
    return _issued(issued)


@api.delete("/api/service-credentials/<credential_id>", access=ADMINS, codes=("SERVICE_CREDENTIAL_NOT_FOUND",))
def delete(credential_id: IdentifierInPath) -> DeletedView:
    """Delete a service credential. Its secrets stop working within 30 seconds."""
    operations.delete(credential_id)
    return DeletedView(message="Service credential deleted")


def _issued(issued: Issued) -> IssuedView:
    if issued.text is None:
        api.add_header(REPLAYED_HEADER, "true")
    message = (
        "Keep the credential: it is not shown again" if issued.text else "Only the first answer showed the credential"
    )
    view = ServiceView.of(issued.credential, clock())
    return IssuedView(**view.model_dump(), credential=issued.text, message=message)


handler = handler_of(api)

"""A service is refused at most 30 seconds after it loses its credential or a right, or its user is disabled.

Until then, the gateway and the functions may use the credential, the rights and the user that they have cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.client import MODEL, RIGHTS_OF_A_PROXY, Person, as_service, assert_refused, issue_credential
from tests.outages.late import until_refused

if TYPE_CHECKING:
    import httpx

    from tests.e2e.conftest import People


@pytest.mark.waits
def test_a_disabled_user_is_refused_and_their_open_session_can_be_settled(
    http: httpx.Client, admin: Person, people: People
) -> None:
    person, made = people(credits=10), issue_credential(admin, *RIGHTS_OF_A_PROXY)
    service = as_service(http, made["credential"], person.id)
    session_id = service.open(1000)
    admin.ok("POST", f"users/{person.id}/disable")

    assert_refused(until_refused(lambda: service.get("usage/stats")), 403, "USER_DISABLED")
    opened = service.post("streaming-sessions/initialize", {"sessionId": "x", "modelId": MODEL, "estimatedTokens": 1})
    assert_refused(opened, 403, "USER_DISABLED")
    assert service.finalize(session_id, 10).status_code == 200


@pytest.mark.waits
def test_old_and_deleted_credentials_and_removed_rights_are_refused_although_the_gateway_cached_them(
    http: httpx.Client, admin: Person, people: People
) -> None:
    person, made = people(), issue_credential(admin, *RIGHTS_OF_A_PROXY)
    path = f"service-credentials/{made['id']}"
    old = as_service(http, made["credential"], person.id)
    assert old.get("credits/balance").status_code == 200
    rotated = admin.ok("POST", f"{path}/rotate")
    new = as_service(http, rotated["credential"], person.id)
    assert new.get("credits/balance").status_code == old.get("credits/balance").status_code == 200

    admin.ok("PUT", path, {"endPrevious": True, "rights": ["usage", "read"]})
    assert_refused(
        until_refused(lambda: old.get("credits/balance")),
        401,
        "SERVICE_CREDENTIAL_INVALID",
        "The service credential was rotated out",
    )
    refused = new.post("streaming-sessions/abort", {"sessionId": "x"})
    assert assert_refused(refused, 403, "RIGHT_MISSING") == {"right": "sessions"}

    admin.ok("DELETE", path)
    answer = until_refused(lambda: new.get("credits/balance"))
    assert_refused(answer, 401, "SERVICE_CREDENTIAL_INVALID", "The service credential was deleted")
    assert made["id"] not in [each["id"] for each in admin.ok("GET", "service-credentials")["services"]]

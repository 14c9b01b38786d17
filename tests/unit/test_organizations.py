"""Organizations: what pays, and who manages."""

import pytest

from accounting.domain.organizations import Member, Organization, Role

OPEN = Organization("o1", "Acme", 1, members=3, owners=1)


def test_an_organization_pays_from_its_own_account() -> None:
    assert OPEN.account_id == "org:o1"


@pytest.mark.parametrize(("role", "manages"), [("owner", True), ("admin", True), ("member", False)])
def test_owners_and_admins_manage(role: Role, manages: bool) -> None:
    assert Member("o1", "u1", role, 1).manages is manages

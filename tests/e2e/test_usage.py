"""Statistics of hundreds of names, over HTTP."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.client import Person
    from tests.e2e.conftest import People

PATIENCE_SECONDS = 60.0
MODELS = 300


def test_three_hundred_models_of_a_day_are_exact_for_their_user(admin: Person, people: People) -> None:
    person = people()
    begin = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.001Z")
    wanted = {f"{person.id}-{number}": number for number in range(MODELS)}
    for model, credits in wanted.items():
        person.ok("POST", "usage/record", {"service": "chat", "operation": model, "credits": credits, "deduct": False})

    whole = person.ok("GET", "usage/stats")
    cut = person.ok("GET", "usage/stats", params={"startDate": begin})

    assert whole["totalRecords"] == cut["totalRecords"] == MODELS
    assert whole["byModel"] == cut["byModel"] == wanted
    assert whole["byService"] == cut["byService"] == {"chat": sum(wanted.values())}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = admin.ok("GET", "usage/system-stats?top=1000")
        if found["byUser"].get(person.id) == sum(wanted.values()):
            break
        assert time.monotonic() < deadline, found["byUser"]
        time.sleep(0.5)
    shown = {model: credits for model, credits in found["byModel"].items() if model in wanted}
    assert len(shown) >= 50
    assert shown.items() <= wanted.items()

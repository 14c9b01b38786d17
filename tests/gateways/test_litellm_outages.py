"""A LiteLLM proxy that cannot reach the accounting service for a while, or is killed, loses no settlement."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from client.tests.wire import FOREVER, Wire
from local import litellm
from tests.gateways.litellm_proxy import Proxy, chat, texts
from tests.gateways.settled import wait_for_settlement

if TYPE_CHECKING:
    from pathlib import Path

    from client.tests.providers import Provider
    from local.stack import Stack
    from tests.e2e.conftest import People


def test_a_settlement_reaches_a_service_that_was_down_when_the_stream_ended(
    service: Stack, people: People, provider: Provider, credential: str, tmp_path: Path
) -> None:
    person = people(credits=100)
    provider.plans(words=5, pause_after=3, input_tokens=2_000, output_tokens=700)
    litellm.install()
    with Wire.to(service.base_url) as wire, Proxy.running(tmp_path, wire.url, credential, provider) as proxy:
        with proxy.ask("/v1/chat/completions", chat(stream=True), user_id=person.id) as answer:
            pieces = texts(answer)
            next(pieces)
            wire.cut("finalize", "before", FOREVER)
            provider.go.set()
            assert len(list(pieces)) == 4
        time.sleep(3)
        assert person.balance()["heldCredits"] > 0

        wire.mend()

        record, _ = wait_for_settlement(service, person)
    assert record["credits"] == 3


def test_a_killed_proxy_settles_from_its_outbox_after_it_is_restarted(
    service: Stack, people: People, provider: Provider, credential: str, tmp_path: Path
) -> None:
    person = people(credits=100)
    provider.plans(words=5, input_tokens=2_000, output_tokens=700)
    outbox = str(tmp_path / "outbox")
    litellm.install()
    with Wire.to(service.base_url) as wire:
        with Proxy.running(tmp_path, wire.url, credential, provider, ACCOUNTING_OUTBOX=outbox) as proxy:
            wire.cut("finalize", "before", FOREVER)
            assert proxy.answer("/v1/chat/completions", chat(), user_id=person.id).is_success
            time.sleep(1)
            proxy.process.send_signal(signal.SIGKILL)
        assert person.balance()["heldCredits"] > 0
        wire.mend()

        with Proxy.running(tmp_path, wire.url, credential, provider, ACCOUNTING_OUTBOX=outbox):
            record, _ = wait_for_settlement(service, person)
    assert record["credits"] == 3

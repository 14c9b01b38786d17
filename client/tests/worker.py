"""Opens and settles sessions, and keeps unsent settlements in FILE: `python worker.py sync|async URL FILE [last]`.

With `last`, it opens no session, sends the settlements that earlier runs left in FILE, and then ends. Otherwise,
it opens sessions until it is killed, and prints the id and the tokens of each session before the session ends.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
import time

from accounting_client import (
    AccountingClient,
    AsyncAccountingClient,
    Retries,
    ServiceCredential,
    background,
    backlog,
    outbox,
)

outbox.LEASE_SECONDS, outbox.OPEN_LEASE_SECONDS = 0.6, 1.2
background.TICK_SECONDS = 0.1
backlog.LONGEST_PAUSE_SECONDS = 0.1
CREDENTIAL = ServiceCredential("svc_01_secret")
RETRIES = Retries(first_seconds=0.01, longest_seconds=0.05)


def print_session(session_id: str, tokens: int) -> None:
    print_line(f"{session_id} {tokens}")


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def has_unsent(file: str) -> bool:
    with sqlite3.connect(file) as database:
        return bool(database.execute("SELECT 1 FROM settlements LIMIT 1").fetchone())


def stream(url: str, file: str, *, is_last: bool) -> None:
    with AccountingClient(url, CREDENTIAL, retries=RETRIES, outbox=file) as client:
        while is_last and has_unsent(file):
            time.sleep(0.05)
        while not is_last:
            user = f"u{random.randrange(3)}"
            with client.for_user(user).streaming_session("m", 1000, settle_seconds=0.05) as session:
                tokens = random.randrange(1000)
                session.set_tokens(tokens)
                time.sleep(random.random() / 50)
                print_session(session.session_id, tokens)


async def astream(url: str, file: str, *, is_last: bool) -> None:
    async with AsyncAccountingClient(url, CREDENTIAL, retries=RETRIES, outbox=file) as client:
        while is_last and has_unsent(file):
            await asyncio.sleep(0.05)
        while not is_last:
            user = f"u{random.randrange(3)}"
            async with client.for_user(user).streaming_session("m", 1000, settle_seconds=0.05) as session:
                tokens = random.randrange(1000)
                session.set_tokens(tokens)
                await asyncio.sleep(random.random() / 50)
                print_session(session.session_id, tokens)


if __name__ == "__main__":
    kind, url, file, *rest = sys.argv[1:]
    print_line("ready 0")
    if kind == "sync":
        stream(url, file, is_last=rest == ["last"])
    else:
        asyncio.run(astream(url, file, is_last=rest == ["last"]))

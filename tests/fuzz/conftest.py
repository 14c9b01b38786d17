"""The fuzz tests deploy their own service, because generated requests leave much data behind."""

from tests.e2e.conftest import admin, answers, http, key_server, people, service, token

__all__ = ["admin", "answers", "http", "key_server", "people", "service", "token"]

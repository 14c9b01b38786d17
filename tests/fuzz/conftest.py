"""The fuzz tests deploy a service of their own, because generated requests leave much data in it."""

from tests.e2e.conftest import admin, answers, http, key_server, people, service, token

__all__ = ["admin", "answers", "http", "key_server", "people", "service", "token"]

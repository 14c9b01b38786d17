"""Checks that secrets are random: constants and counters fail."""

from __future__ import annotations

from base64 import urlsafe_b64decode

BYTES = 32


def assert_random(secrets: list[str]) -> None:
    """Assert that each secret is base64 of 32 bytes, and that every byte varies between the secrets.

    Ten random secrets fail with a probability below 10**-19.
    """
    assert len(secrets) >= 10
    decoded = [urlsafe_b64decode(f"{secret}=") for secret in secrets]
    assert {len(each) for each in decoded} == {BYTES}
    assert all(len(set(column)) > 1 for column in zip(*decoded, strict=True))

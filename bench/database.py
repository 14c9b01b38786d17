"""A DynamoDB emulator in a separate process, and the environment of a function that uses it."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from accounting import settings as settings_module
from accounting import telemetry
from bench.functions import be_patient
from local import account, emulator
from tests.metrics import Uncounted
from tests.template import create_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.emulator import Emulator

JWT_SECRET = "an-example-secret-of-at-least-32-bytes"  # noqa: S105 - the one in events/README.md
INTERNAL_KEY = "an-example-internal-key"


@dataclass(frozen=True)
class Database:
    """The emulator, the name of a table on it (empty until ``table`` creates one), and a folder for temporary files."""

    aws: Emulator
    table_name: str
    scratch: Path

    def environ(self) -> dict[str, str]:
        """Return the whole environment of a function's process. It has nothing of this machine's environment."""
        return {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "AWS_ENDPOINT_URL": self.aws.endpoint_url,
            "AWS_DEFAULT_REGION": account.REGION,
            "AWS_ACCESS_KEY_ID": account.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": account.SECRET_KEY,
            "TABLE_NAME": self.table_name,
            "JWT_SECRET_ID": "bench-jwt",
            "INTERNAL_API_KEY_ID": "bench-internal",
            "PYDANTIC_DISABLE_PLUGINS": "__all__",
            "LOG_LEVEL": "INFO",
            "POWERTOOLS_SERVICE_NAME": "accounting-service",
            "POWERTOOLS_METRICS_NAMESPACE": "AccountingService",
        }

    def table(self, name: str) -> Database:
        """Create an empty table, make this process's store use it, and return it."""
        create_table(self.aws.client("dynamodb"), name)
        made = Database(self.aws, name, self.scratch)
        os.environ.update({key: value for key, value in made.environ().items() if "PATH" not in key})
        settings_module.settings.cache_clear()
        be_patient()
        return made


@contextmanager
def start(scratch: Path) -> Iterator[Database]:
    """Run the emulator during the block, with the secrets that the authorizers read."""
    # Operations count metrics. Without a function's handler, nothing writes and clears them, so they would pile up.
    telemetry.metrics = Uncounted()  # type: ignore[assignment]
    with emulator.start() as aws:
        secrets = aws.client("secretsmanager")
        jwt = json.dumps({"current": JWT_SECRET, "previous": ""})
        secrets.create_secret(Name="bench-jwt", SecretString=jwt)
        secrets.create_secret(Name="bench-internal", SecretString=INTERNAL_KEY)
        yield Database(aws, "", scratch)

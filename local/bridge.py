"""Lets containers reach the local AWS: `python3 -m local.bridge ADDRESS PORT`, until Ctrl-C.

The local AWS listens only on 127.0.0.1, which containers cannot reach. ADDRESS is an address of this machine that
containers can reach, such as the address of Docker's bridge. While the bridge runs, everyone who can reach ADDRESS can
reach the local AWS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from urllib.parse import urlsplit

from local.paths import STACK_JSON
from local.steps import Refused, explain

CHUNK_BYTES = 65_536
PORTS = range(1, 65_536)


def main() -> int:
    """Forward connections to the service that `make run` started; return the exit status."""
    try:
        address, port = sys.argv[1:]
        if int(port) not in PORTS:
            raise ValueError(port)
        asyncio.run(_serve(address, int(port)))
    except ValueError:
        return explain(Refused("usage: python3 -m local.bridge ADDRESS PORT, with a PORT from 1 to 65535"))
    except OSError as error:
        return explain(Refused(str(error)))
    except Refused as refused:
        return explain(refused)
    except KeyboardInterrupt:
        return 0
    return 0


async def _serve(address: str, port: int) -> None:
    if not STACK_JSON.exists():
        raise Refused("the service is not running: start it with `make run`, then repeat this in a second terminal")
    target = urlsplit(json.loads(STACK_JSON.read_text())["endpointUrl"])

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # the local AWS did not answer, or one end has closed the connection
            far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        writer.close()

    await asyncio.start_server(carry, address, port)
    print(f"{address}:{port} is the local AWS", flush=True)
    # Wait until Ctrl-C. After Ctrl-C, `serve_forever` would also wait until all connections are closed.
    await asyncio.Event().wait()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


if __name__ == "__main__":
    sys.exit(main())

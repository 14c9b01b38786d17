"""The calls to the table. No other package calls DynamoDB.

Every call has a time limit. A call that keeps failing raises Unavailable. A write may then have been carried out.
"""

from accounting.store.table.chance import any_below, jitter
from accounting.store.table.codec import Item, compact, pack, unpack
from accounting.store.table.connection import client, create_client_for_snapshot, for_a_request
from accounting.store.table.queries import (
    MAX_BATCH,
    due,
    forward,
    get,
    get_many,
    highest,
    newest,
    positions,
    query,
    query_all,
)
from accounting.store.table.transactions import (
    MAX_TRANSACTED,
    Conflict,
    Throttled,
    Write,
    add,
    check,
    delete,
    delete_one,
    put,
    put_many,
    transact,
    update,
    update_one,
)

"""The address of DynamoDB, and the credentials to use there.

botocore finds both, but importing botocore and making its client takes as long as importing the rest of a function's
code. On Lambda without SnapStart, the environment holds credentials that do not change, a region, and nothing else that
botocore would use. Such an environment is read here. Anything else, such as a profile, a container's credentials, a
proxy or a bundle of certificates, is left to botocore.
"""

import os
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_dynamodb import DynamoDBClient

FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
READ_HERE = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
}
LEFT_TO_BOTOCORE = re.compile(r"AWS_(?!LAMBDA_|XRAY_|EXECUTION_ENV$|REGION$)|(HTTPS?|ALL)_PROXY$|REQUESTS_CA_BUNDLE$")
"""Variables that botocore may use: variables for proxies and certificates, and every AWS_ variable that Lambda does not
set for other purposes."""
COMMERCIAL_REGION = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+")
"""A region whose addresses end in ``amazonaws.com``. Only botocore knows the addresses of other regions."""


class Credentials(NamedTuple):
    """The credentials with which a request is signed."""

    access_key: str
    secret_key: str
    token: str | None


class Place(NamedTuple):
    """An address of DynamoDB, its region, and how to authenticate there.

    ``tls`` is None for http. ``credentials`` is called before every attempt of a request, because the credentials may
    change at any time.
    """

    url: str
    region: str
    tls: ssl.SSLContext | None
    credentials: Callable[[], Credentials]


def place_of_environment(environ: Mapping[str, str]) -> Place | None:
    """The place that the environment names, or None if only botocore can find it."""
    others = environ.keys() - READ_HERE - FILES.keys()
    if any(LEFT_TO_BOTOCORE.match(name.upper()) for name in others):
        return None
    if any(_is_file(environ.get(name, usual)) for name, usual in FILES.items()):
        return None
    access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    region = environ.get("AWS_DEFAULT_REGION", "")
    if not (access_key and secret_key and COMMERCIAL_REGION.fullmatch(region)):
        return None
    url = environ.get("AWS_ENDPOINT_URL") or f"https://dynamodb.{region}.amazonaws.com"
    if not _is_plain(url):
        return None
    tls = ssl.create_default_context() if url.startswith("https:") else None
    if tls and not tls.cert_store_stats()["x509_ca"]:
        return None  # a Python that does not know the system's certificates: botocore brings its own
    credentials = Credentials(access_key, secret_key, environ.get("AWS_SESSION_TOKEN"))
    return Place(url, region, tls, lambda: credentials)


def place_of_client(client: "DynamoDBClient", session: "Session") -> Place | None:
    """The place that botocore found for ``client``, or None if only that client can reach DynamoDB.

    The result is None without credentials, behind a proxy, for an address with a path, and if the AWS configuration
    requires an address of DynamoDB that contains the id of the AWS account.
    """
    from botocore.httpsession import create_urllib3_context, get_cert_path
    from botocore.utils import get_environ_proxies

    url, found = client.meta.endpoint_url, session.get_credentials()
    scheme = urlsplit(url).scheme
    settings: Any = client.meta.config
    own_address_only = settings.account_id_endpoint_mode == "required"
    if not found or not _is_plain(url) or get_environ_proxies(url).get(scheme) or own_address_only:
        return None
    tls = None
    if scheme == "https":
        tls = create_urllib3_context()
        tls.check_hostname = True
        bundle = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        tls.load_verify_locations(bundle or get_cert_path(verify=True))

    def credentials() -> Credentials:
        now: Any = found.get_frozen_credentials()
        return Credentials(now.access_key, now.secret_key, now.token)

    return Place(url, client.meta.region_name, tls, credentials)


def _is_file(path: str) -> bool:
    """Whether ``path`` is a file. As in botocore, ``~`` raises no error if the home folder is unknown."""
    return Path(os.path.expanduser(path)).is_file()  # noqa: PTH111 - Path.expanduser() raises


def _is_plain(url: str) -> bool:
    """Whether an address has a host, perhaps a port, and nothing else."""
    parts = urlsplit(url)
    there = parts.scheme in ("http", "https") and parts.hostname
    return bool(there) and not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)

"""A Chromium for tests and pictures: the machine's own, or one from npm, which needs neither root nor system libraries.

No package on PyPI contains a Chromium. The package @sparticuz/chromium on npm contains one, built for Lambda. It is
downloaded once into `.local`, with a fixed version and hash.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from playwright._impl._driver import compute_driver_executable

from local.paths import LOCAL

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chromium-headless-shell")
PACKAGE, VERSION = "@sparticuz/chromium", "153.0.0"
SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
PATIENCE_SECONDS = 240
UNPACK = """
const [packed, unpacked] = process.argv.slice(1), { readFileSync, writeFileSync } = require("fs");
writeFileSync(unpacked, require("zlib").brotliDecompressSync(readFileSync(packed)));
"""
"""Unpacks a file with the Node that Playwright contains, because Python's standard library has no Brotli."""

FONTS = '<?xml version="1.0"?><fontconfig><dir prefix="relative">fonts</dir></fontconfig>'


class Missing(Exception):
    """There is no Chromium; the message says why."""


class Chromium(NamedTuple):
    """An executable, and the environment variables that it needs."""

    path: Path
    environ: dict[str, str]


@cache
def chromium() -> Chromium:
    """Find a Chromium: by the variable CHROMIUM, on PATH, or from npm. Raises Missing."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    return Chromium(Path(found), {}) if found else _from_npm()


def _from_npm() -> Chromium:
    folder = LOCAL / f"chromium-{VERSION}"
    if not folder.exists():
        npm = shutil.which("npm")
        if (platform.system(), platform.machine()) != ("Linux", "x86_64") or not npm:
            raise Missing(
                f"CHROMIUM is not set, none of {', '.join(NAMES)} is on PATH, "
                "and the one from npm needs npm and Linux x86_64"
            )
        LOCAL.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=LOCAL) as scratch:
            unfinished = Path(scratch) / "chromium"
            _unpack(_fetched(npm, Path(scratch)), unfinished)
            unfinished.rename(folder)
    return Chromium(
        folder / "chromium", {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_PATH": str(folder / "fonts")}
    )


def _fetched(npm: str, folder: Path) -> Path:
    """Let npm download the package's archive, and check its hash. Raises Missing."""
    command = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
        (archive,) = folder.glob("*.tgz")
    except (OSError, subprocess.SubprocessError, ValueError) as exc:
        raise Missing(f"no browser is on PATH, and npm could not download {PACKAGE} {VERSION}") from exc
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
        raise Missing(f"no browser is on PATH, and {PACKAGE} {VERSION} from npm has an unexpected hash")
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the executable, its libraries and a font."""
    node = compute_driver_executable()[0]
    with tarfile.open(archive) as package:
        package.extractall(folder, filter="data")
    packed = folder / "package/bin"
    for name in ("chromium", "al2023.tar", "fonts.tar"):
        subprocess.run([node, "-e", UNPACK, packed / f"{name}.br", folder / name], timeout=PATIENCE_SECONDS, check=True)
    for name, into in (("al2023.tar", folder), ("fonts.tar", folder / "fonts")):
        with tarfile.open(folder / name) as packed_files:
            packed_files.extractall(into, filter="data")
        (folder / name).unlink()
    shutil.rmtree(folder / "package")
    # Replace the package's fonts.conf, because it names the folders in which Lambda has fonts.
    (folder / "fonts/fonts.conf").write_text(FONTS)
    (folder / "chromium").chmod(0o755)

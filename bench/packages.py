"""The size of what is deployed: each function's code, and the layer that all functions share."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from bench.report import Section, Target
from local.build import build

if TYPE_CHECKING:
    from pathlib import Path

    from bench.database import Database
    from bench.report import Report

LAYER_MEGABYTES = 4
ABOUT = """\
What `sam build` makes for this machine's architecture, zipped as `sam deploy` zips it. One megabyte is 1,000,000
bytes."""


def run(report: Report, _database: Database) -> None:
    """Build the current sources, and report the size of each package."""
    built = build().template.parent
    folders = sorted(folder for folder in built.iterdir() if folder.is_dir())
    sizes = {folder.name: _sizes(folder) for folder in folders}
    rows = [[name, f"{zipped:,}", f"{plain:,}"] for name, (zipped, plain) in sizes.items()]
    report.add(Section("Packages", ABOUT, ["package", "zipped bytes", "unzipped bytes"], rows))
    zipped = sizes["SharedLayer"][0] / 1e6
    report.targets.append(Target.at_most("layer, zipped", LAYER_MEGABYTES, zipped, " MB"))


def _sizes(folder: Path) -> tuple[int, int]:
    """Return the folder's zipped and unzipped bytes, without bytecode, which only the local AWS gets."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as whole:
        for path in files:
            whole.write(path, path.relative_to(folder))
    return archive.tell(), sum(path.stat().st_size for path in files)

"""The package installs by the line of its README, and brings what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[1]


def test_it_installs_from_its_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path), str(CLIENT)]
    subprocess.run(command, check=True, capture_output=True)

    said = "import accounting_client, httpx; print(accounting_client.__file__); print(httpx.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", said], env={"PYTHONPATH": str(tmp_path)}, check=True, capture_output=True, text=True
    )
    assert [Path(line).is_relative_to(tmp_path) for line in done.stdout.splitlines()] == [True, True]
    assert (tmp_path / "accounting_client/py.typed").exists()

"""The systemd unit says nothing that systemd does not know."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: the unit is not checked")
    text = (ROOT / "deploy" / "systemd" / "pyramidion.service").read_text(encoding="utf-8")
    # It looks for the program and the user, which are where Pyramidion is installed.
    for there, here in (
        ("/opt/pyramidion/bin/pyramidion", shutil.which("true") or ""),
        ("User=pyramidion\n", ""),
    ):
        assert there in text
        text = text.replace(there, here)
    unit = tmp_path / "pyramidion.service"
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", unit],
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if str(unit) in line or unit.name in line]
    assert (done.returncode, complaints) == (0, [])

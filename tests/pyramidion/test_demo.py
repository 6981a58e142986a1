"""The demo, whole: its figures add up and it catches most of what it planted."""

from pathlib import Path
from typing import Any

import psutil
import pytest


@pytest.mark.timeout(300)  # a training on two busy cores
def test_the_demo_reports_what_was_caught(run: Any, home: Path) -> None:
    answer = run("demo", "--parts", "80", "--exit", "--json", timeout=280)
    assert answer.code == 0, answer.err
    report = answer.json()
    assert report["parts"] == report["judged"] == 80
    assert report["ok"] + report["ng"] + report["inconclusive"] + report["error"] == 80
    assert report["pending"] == report["error"] == 0
    assert report["caught"] + report["escapes"] == report["defects"] > 0
    assert report["caught"] >= report["defects"] / 2
    assert report["false_rejects"] <= 4
    assert report["images_per_s"] > 0
    assert not [
        one for one in psutil.process_iter(["cmdline"]) if str(home) in " ".join(one.info["cmdline"] or [])
    ]

    rows = run("results", "--product", "demo", "--json").json()
    assert len(rows) == 80

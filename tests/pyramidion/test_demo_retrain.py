"""The ageing demo, whole: the light fades, and the line gets a model that knows it while it goes on."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import psutil
import pytest


@pytest.mark.long
@pytest.mark.timeout(
    1300
)  # a training beside a line that goes on, on two busy cores; or two, where one is refused
def test_the_ageing_demo_ends_with_a_model_that_knows_the_light(run: Any, home: Path) -> None:
    few = {"PYRAMIDION_DATASET_IMAGES": "140"}
    answer = run(
        "demo", "--retrain", "--parts", "60", "--rate", "12", "--exit", "--json", timeout=1250, env=few
    )
    report = answer.json()
    assert report["why_not"] is None, answer.err
    assert report["judged"] == report["parts"] > 240
    assert report["pending"] == report["error"] == 0
    assert report["alarm"]["statistic"]
    assert report["training"]["why"] == "schedule"
    assert report["training"]["judged_meanwhile"] > 0, "scoring goes on while a model is trained"
    assert report["gate"]["passed"]
    assert report["promoted_after_s"] > report["training"]["ended_after_s"]
    stages = report["stages"]
    assert list(stages) == ["new lamp", "lamp fades", "old lamp", "new model"]
    assert stages["old lamp"]["false_reject_rate"] > 0.3 > 0.15 > stages["new lamp"]["false_reject_rate"]
    assert stages["new model"]["false_reject_rate"] < 0.15
    assert stages["new model"]["defects"] == stages["new lamp"]["defects"], "the same parts, by another light"
    # Some two dozen defects measure no recall: the report says whether it stayed, and the exit code too.
    assert answer.code == (0 if all(report["met"].values()) else 1)
    drawing = ET.parse(report["picture"]).getroot()
    assert len(drawing.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    assert not [
        one for one in psutil.process_iter(["cmdline"]) if str(home) in " ".join(one.info["cmdline"] or [])
    ]

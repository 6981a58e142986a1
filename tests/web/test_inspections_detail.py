"""The page of one inspection: what stands around its verdict."""

import hashlib
import io
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from db import models

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_the_score_stands_among_those_of_the_parts_before_it(page: httpx.Client, plant: Any) -> None:
    for verdict in ("ok", "ok", "ng", "inconclusive", "error"):
        plant.inspect(verdict)
    old = plant.accept()
    with plant.sessions.begin() as session:
        manifest = '{"other": 1}'
        other_model = hashlib.sha256(manifest.encode()).hexdigest()
        models.register(session, other_model, "tile", manifest, "0" * 64, 7)
    plant.judge(old, "ok", model_version=other_model)  # whose scores don't compare
    plant.judge(plant.accept(product="cube"), "ok", model_version=other_model)  # nor another product's
    shown = plant.inspect("ng")
    plant.inspect("ok")  # later
    text = page.get(f"/inspections/{shown}").text
    assert "Scores of 2 ok and 1 ng parts of tile before this one; this one scores 0.8000" in text
    assert "threshold 0.2000" in text
    other = page.get(f"/inspections/{old}").text
    assert "Against the product" not in other  # there is nothing to compare with


def test_what_belongs_to_a_part_is_a_link_away(page: httpx.Client, plant: Any) -> None:
    first = plant.inspect("ok", serial="S/1")
    plant.inspect("ok", station="elsewhere")
    shown = plant.inspect("ng", serial="S/1")
    last = plant.accept(serial="S/1")
    text = page.get(f"/inspections/{shown}").text
    table = text[text.index('<table class="same">') :]
    assert re.findall(r'href="/inspections/([^"]+)"', table)[:2] == [str(last), str(first)]
    assert f'<a href="/inspections/{first}" rel="next">Part before</a>' in text
    assert f'<a href="/inspections/{last}" rel="prev">Part after</a>' in text
    assert "the first part" in page.get(f"/inspections/{first}").text
    assert "the newest part" in page.get(f"/inspections/{last}").text


def test_the_model_says_where_it_comes_from(page: httpx.Client, plant: Any) -> None:
    plant.inspect("ok")
    with plant.sessions.begin() as session:
        models.set_champion(session, "tile", plant.model, "ada", "fewer <false> alarms")
    shown = plant.accept()
    plant.judge(shown, "ng", judged_at=datetime.now(UTC))
    text = page.get(f"/inspections/{shown}").text
    assert f'<a href="/models/{plant.model}">' in text
    assert "on 100 images at the command line" in text
    assert "to now, let judge by ada: fewer &lt;false&gt; alarms" in text


def test_map_and_image_are_there_to_be_laid_over_each_other(page: httpx.Client, plant: Any) -> None:
    shown = plant.inspect("ng")
    text = page.get(f"/inspections/{shown}").text
    assert f'href="/inspections/{shown}/heat.png" width="160" height="120"' in text
    assert 'aria-label="Colours from half the threshold to twice of it: 0.1000 to 0.4000;' in text
    answer = page.get(f"/inspections/{shown}/heat.png")
    heat = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert heat.shape == (120, 160, 4)
    assert heat[50, 75, 3] == 255  # twice as opaque as in the overlay
    assert heat[100, 20, 3] == 0
    again = page.get(f"/inspections/{shown}/heat.png", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert page.get(f"/inspections/{plant.accept()}/heat.png").status_code == 404


def test_a_large_image_is_there_in_full(page: httpx.Client, plant: Any) -> None:
    out = io.BytesIO()
    Image.fromarray(np.zeros((900, 1500), dtype=np.uint8)).save(out, "PNG")
    shown = plant.accept(data=out.getvalue(), image_width=1500, image_height=900)
    assert f'data-full="/inspections/{shown}/view.png?full=true"' in page.get(f"/inspections/{shown}").text
    sizes = {}
    for query in ("", "?full=true"):
        answer = page.get(f"/inspections/{shown}/view.png{query}")
        sizes[answer.headers["etag"]] = Image.open(io.BytesIO(answer.content)).size
    assert list(sizes.values()) == [(1280, 768), (1500, 900)]
    assert page.get(f"/inspections/{shown}/view.png?full=perhaps").status_code == 422

"""Images and maps, as stored and as drawn, and how long browsers may keep them."""

import hashlib
import io
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from PIL import Image

from web.inspections.drawings import Drawings


def test_the_stored_bytes_come_back_as_they_are(page: httpx.Client, plant: Any) -> None:
    out = io.BytesIO()
    Image.new("RGB", (160, 120), (90, 100, 110)).save(out, "JPEG")
    id_ = plant.accept(data=out.getvalue(), image_format="JPEG")
    plant.judge(id_, "ng")
    image = page.get(f"/inspections/{id_}/image")
    assert (image.content, image.headers["content-type"]) == (out.getvalue(), "image/jpeg")
    assert image.headers["etag"] == f'"{hashlib.sha256(out.getvalue()).hexdigest()}"'
    stored = page.get(f"/inspections/{id_}/map.png")
    assert stored.headers["etag"] == f'"{hashlib.sha256(stored.content).hexdigest()}"'
    assert Image.open(io.BytesIO(stored.content)).size == (40, 30)


def test_the_overlay_marks_the_region(page: httpx.Client, plant: Any) -> None:
    id_ = plant.inspect("ng")
    view = Image.open(io.BytesIO(page.get(f"/inspections/{id_}/view.png").content))
    drawn = Image.open(io.BytesIO(page.get(f"/inspections/{id_}/overlay.png").content))
    assert view.size == drawn.size == (480, 360)
    red, green, _ = (np.asarray(drawn)[150, 225, channel] for channel in range(3))
    assert int(red) > int(green) + 40
    assert (np.asarray(drawn)[250:] == np.asarray(view)[250:]).all()


def test_browsers_keep_what_never_changes(page: httpx.Client, plant: Any) -> None:
    id_ = plant.inspect("ng")
    for name in ("image", "map.png", "view.png", "overlay.png"):
        address = f"/inspections/{id_}/{name}"
        first = page.get(address)
        assert "max-age" in first.headers["cache-control"]
        assert "private" in first.headers["cache-control"]
        tag = first.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = page.get(address, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert page.get(address, headers={"If-None-Match": '"other"'}).content == first.content
        head = page.head(address)
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)


def test_a_map_that_is_still_to_come_is_not_kept_as_missing(page: httpx.Client, plant: Any) -> None:
    id_ = plant.accept()
    for name in ("map.png", "overlay.png"):
        answer = page.get(f"/inspections/{id_}/{name}")
        assert answer.status_code == 404
        assert "waits for its verdict" in answer.text
        assert answer.headers["cache-control"] == "private, no-cache"
    plant.judge(id_, "ok")
    assert page.get(f"/inspections/{id_}/overlay.png").status_code == 200


def test_a_format_that_browsers_cannot_show_is_viewed_as_png(page: httpx.Client, plant: Any) -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((120, 160), 4000, dtype=np.uint16)).save(out, "TIFF")
    id_ = plant.accept(data=out.getvalue(), image_format="TIFF")
    assert page.get(f"/inspections/{id_}/image").headers["content-type"] == "image/tiff"
    view = page.get(f"/inspections/{id_}/view.png")
    assert Image.open(io.BytesIO(view.content)).format == "PNG"


def test_a_thumbnail_is_small_and_shows_what_is_marked(page: httpx.Client, plant: Any) -> None:
    big = np.full((900, 1200), 128, dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(big).save(out, "JPEG")
    region = {"x": 450.0, "y": 300.0, "width": 240.0, "height": 150.0, "area": 30_000.0, "peak": 0.8}
    id_ = plant.accept(data=out.getvalue(), image_format="JPEG", image_width=1200, image_height=900)
    plant.judge(id_, "ng", regions=[region])
    drawn = Image.open(io.BytesIO(page.get(f"/inspections/{id_}/thumbnail.png").content))
    assert drawn.size == (256, 192)
    pixels = np.asarray(drawn.convert("RGB")).astype(int)
    marked = (abs(pixels - 128) > 20).any(axis=-1).nonzero()
    assert marked[0].min() == pytest.approx(192 / 3, abs=8)
    assert marked[1].max() == pytest.approx(256 * 690 / 1200, abs=8)


def test_a_thumbnail_of_a_part_without_verdict_is_asked_for_again(page: httpx.Client, plant: Any) -> None:
    id_ = plant.accept()
    address = f"/inspections/{id_}/thumbnail.png"
    plain = page.get(address)
    assert (plain.status_code, plain.headers["cache-control"]) == (200, "private, no-cache")
    tag = {"If-None-Match": plain.headers["etag"]}
    assert page.get(address, headers=tag).status_code == 304
    plant.judge(id_, "ng")
    drawn = page.get(address, headers=tag)
    assert drawn.status_code == 200
    assert drawn.content != plain.content
    assert "max-age" in drawn.headers["cache-control"]
    assert page.get(address, headers={"If-None-Match": drawn.headers["etag"]}).status_code == 304
    assert page.get(f"/inspections/{uuid4()}/thumbnail.png").status_code == 404


def test_drawings_are_made_once_and_kept_up_to_a_bound() -> None:
    kept, made = Drawings(room=250), []

    def draw(name: str) -> bytes:
        made.append(name)
        return bytes(100)

    for name in ("a", "b", "a", "c", "a", "b"):  # b was asked for the longest ago when c came
        assert kept.get(name, lambda name=name: name, draw) == bytes(100)
    assert made == ["a", "b", "c", "b"]
    for _ in range(2):
        kept.get("large", lambda: "large", lambda _: bytes(300))
    assert kept.get("b", lambda: "b", draw) == bytes(100)
    assert made == ["a", "b", "c", "b"]  # what has no room takes none from others

"""The pictures in evidence: what the page shows of a part, as a file of its own."""

import io
from collections.abc import Mapping, Sequence

from web.inspections.overlay import UndrawableError, draw


def as_jpeg(
    image: bytes,
    map_png: bytes,
    low: float,
    high: float,
    threshold: float,
    regions: Sequence[Mapping[str, float]],
) -> bytes | None:
    """Draw the anomaly map over the image; None where one of them can't be decoded."""
    try:
        picture = draw(image, map_png, low, high, threshold, regions)
    except UndrawableError:
        return None
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return out.getvalue()

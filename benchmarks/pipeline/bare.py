"""The bare model, and the ideal single process: decode, score, encode, with no queue and no database."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model import bundle, regions, scoring
from model.maps import encode_map
from model.scoring import Decoded, Scored, Scorer

_BATCH = 64


def bare(scorer: Scorer, pictures: Sequence[bytes]) -> Callable[[float], float]:
    """Give what measures images/s of the model on arrays that are decoded already, for some seconds."""
    arrays = [scorer.decode(data).array for data in pictures[:_BATCH]]

    def measure(seconds: float) -> float:
        return _rate(lambda: scorer.score(arrays), len(arrays), seconds)

    return measure


def ideal(scorer: Scorer, pictures: Sequence[bytes], threads: int) -> Callable[[float], float]:
    """The same from files in memory to encoded maps: `threads` decode the next batch and encode the last one
    while the model scores.
    """
    pool = ThreadPoolExecutor(threads)
    some = list(pictures[:_BATCH])

    def finish(image: Decoded, said: Scored) -> None:
        if scoring.verdict(said.score, scorer.threshold) != "ok":
            regions.find(said.map, scorer.threshold, image.width, image.height)
        encode_map(said.map)

    decoding = [pool.submit(scorer.decode, data) for data in some]
    encoding: list[object] = []

    def turn() -> None:
        nonlocal decoding, encoding
        decoded = [one.result() for one in decoding]
        decoding = [pool.submit(scorer.decode, data) for data in some]
        scored = scorer.score([one.array for one in decoded])
        for one in encoding:
            one.result()  # type: ignore[attr-defined]
        encoding = [pool.submit(finish, *pair) for pair in zip(decoded, scored, strict=True)]

    return lambda seconds: _rate(turn, len(some), seconds)


def steps_ms(scorer: Scorer, pictures: Sequence[bytes]) -> dict[str, float]:
    """Give the processor time in ms that an image takes to decode, and its map to encode."""
    decoded = [scorer.decode(data) for data in pictures[:_BATCH]]
    (said,) = scorer.score([decoded[0].array])
    steps: dict[str, Callable[[], object]] = {
        "decode": lambda: [scorer.decode(data) for data in pictures[:_BATCH]],
        "encode": lambda: [encode_map(said.map) for _ in decoded],
    }
    found = {}
    for name, step in steps.items():
        step()
        begun = time.process_time()
        for _ in range(5):
            step()
        found[name] = round((time.process_time() - begun) * 1000 / 5 / len(decoded), 3)
    return found


def load(folder: Path) -> Scorer:
    return Scorer(bundle.load(folder))


def _rate(turn: Callable[[], object], images: int, seconds: float) -> float:
    turn()
    begun, number = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        turn()
        number += images
    return number / (time.perf_counter() - begun)

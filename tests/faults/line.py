"""What passes the cameras: small JPEG files, given at a pace into one folder for each station."""

import io
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from tests.faults.hook.sitecustomize import HANGS, KILLS

_PICTURES = 32
_BURST = 40


def picture(seed: int, *, defect: bool = False) -> bytes:
    """A grey gradient with noise, 64 x 64, as JPEG; a defect is a black square."""
    random = np.random.default_rng(seed)
    values = np.linspace(90, 160, 64)[None, :] + random.normal(0, 4, (64, 64))
    if defect:
        values[20:36, 24:40] = 5
    out = io.BytesIO()
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def undecodable() -> bytes:
    """A JPEG that is whole, as far as intake looks, but names no quantisation table."""
    return picture(0).replace(b"\xff\xdb", b"\xff\xe9")


@dataclass
class Line:
    """Gives `total` parts or more, until it is told to end, to the stations in turn.

    About `rate` a second: half of them at a steady pace, half many at once, so that queues form. What was
    given to a folder is there for good, and `given` knows its serial, which is the file's name.
    """

    folders: list[Path]
    rate: float
    total: int
    seed: int
    given: list[str] = field(default_factory=list)
    poisons: dict[str, str] = field(default_factory=dict)  # serial -> kind
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _end: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        random = Random(self.seed)
        good = [picture(one) for one in range(_PICTURES)]
        bad = [picture(one, defect=True) for one in range(4)]
        due = time.monotonic()
        while len(self.given) < self.total or not self._end.is_set():
            for _ in range(1 + (_BURST if random.random() < 1 / _BURST else 0)):
                self._give(random.choice(bad if random.random() < 0.05 else good))
            due += 2 / self.rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return

    def poison(self, kind: str) -> str:
        """Let a poison part pass now: undecodable, kills or hangs; gives its serial."""
        data = {
            "undecodable": undecodable(),
            "kills": picture(0) + KILLS,
            "hangs": picture(0) + HANGS,
        }[kind]
        serial = self._give(data)
        self.poisons[serial] = kind
        return serial

    def _give(self, data: bytes) -> str:
        with self._lock:
            serial = f"p{len(self.given):06d}"
            folder = self.folders[len(self.given) % len(self.folders)]
            unfinished = folder / f".{serial}"
            unfinished.write_bytes(data + serial.encode())  # no two files are alike, as with a camera
            unfinished.rename(folder / f"{serial}.jpg")
            self.given.append(serial)
        return serial

    def end(self, patience_s: float) -> None:
        """Let no more pass than `total`, and wait until they have."""
        assert self._thread is not None
        self._end.set()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            raise TimeoutError(f"only {len(self.given)} of {self.total} parts passed in {patience_s} s")

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

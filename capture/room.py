"""How much more may wait in a station's spool: in images, in bytes, and by what its disk has left."""

import shutil
from pathlib import Path
from threading import Condition

from capture.settings import CaptureSettings


class Room:
    """What the spool may still take, shared by the thread of the source, which takes, and that of intake.

    An image larger than the bound in bytes is taken when nothing else waits: it has to pass at some time.
    """

    def __init__(self, folder: Path, settings: CaptureSettings) -> None:
        self.images = 0  # that wait, from when the source gave them until intake is done with them
        self.bytes = 0
        self._folder = folder
        self._settings = settings
        self._changed = Condition()

    def take(self, size: int, patience_s: float) -> bool:
        """Take room for an image of `size` bytes; says no where there is none within `patience_s`."""
        with self._changed:
            if self._lack(size) is not None:
                self._changed.wait(patience_s)
                if self._lack(size) is not None:
                    return False
            self.images += 1
            self.bytes += size
            return True

    def occupy(self, images: int, size: int) -> None:
        """Note what lies in the spool already."""
        with self._changed:
            self.images += images
            self.bytes += size

    def give_back(self, images: int, size: int) -> None:
        with self._changed:
            self.images -= images
            self.bytes -= size
            self._changed.notify_all()

    def filled(self) -> float:
        """Give how much of the bound that is nearer is taken; 1 is all."""
        return max(self.images / self._settings.capture_ahead, self.bytes / self._settings.spool_max_bytes)

    def said(self) -> str:
        """Say how full it is."""
        return (
            f"{self.images} of at most {self._settings.capture_ahead} images wait, "
            f"{megabytes(self.bytes)} of at most {megabytes(self._settings.spool_max_bytes)}"
        )

    def why_full(self, size: int) -> str | None:
        """Say what leaves no room for an image of `size` bytes, with the setting; None where there is."""
        with self._changed:
            return self._lack(size)

    def _lack(self, size: int) -> str | None:
        settings = self._settings
        if self.images >= settings.capture_ahead:
            return f"{self.images} images wait in it, as many as PYRAMIDION_CAPTURE_AHEAD allows"
        if self.bytes and self.bytes + size > settings.spool_max_bytes:
            return (
                f"{self.images} images of {megabytes(self.bytes)} wait in it, and the next of "
                f"{megabytes(size)} is more than PYRAMIDION_SPOOL_MAX_BYTES allows"
            )
        free = shutil.disk_usage(self._folder).free
        if free - size < settings.spool_min_free_bytes:
            return (
                f"its disk has {megabytes(free)} free, and PYRAMIDION_SPOOL_MIN_FREE_BYTES keeps "
                f"{megabytes(settings.spool_min_free_bytes)}"
            )
        return None


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"

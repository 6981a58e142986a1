"""Python imports this at the start of each of the plant's processes: PYTHONPATH leads here first.

Poison images kill or hang whoever decodes them, as a flaw in a decoder's native code would. The image store
is slow while the file that FAULTS_SLOW_STORE names is there.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

KILLS, HANGS = b"poison: kills", b"poison: hangs"
SLOW_S = 1.5


def _poison_decode(images: Any) -> None:
    decode = images.decode

    def poisoned(data: bytes, **more: Any) -> Any:
        if KILLS in data:
            os.kill(os.getpid(), signal.SIGKILL)
        while HANGS in data:
            time.sleep(1)
        return decode(data, **more)

    images.decode = poisoned


def _slow_store(imagestore: Any) -> None:
    def slowed(method: Callable[..., Any]) -> Callable[..., Any]:
        def wait_first(*args: Any) -> Any:
            if Path(os.environ["FAULTS_SLOW_STORE"]).exists():
                time.sleep(SLOW_S)
            return method(*args)

        return wait_first

    for name in ("get_many", "put_many"):
        setattr(imagestore.ImageStore, name, slowed(getattr(imagestore.ImageStore, name)))


PATCHES = {"model.images": _poison_decode, "db.imagestore": _slow_store}


class Hook(MetaPathFinder):
    """Patches a module as soon as it is imported, and imports nothing by itself."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name not in PATCHES:
            return None
        spec: Any = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            PATCHES[name](module)

        spec.loader.exec_module = execute_and_patch
        return spec


if "FAULTS_SLOW_STORE" in os.environ:
    sys.meta_path.insert(0, Hook())

"""Pretrained weights, by path or URL, in the layout that torchvision publishes. Always optional.

The one place that reads a file of torch's own format, with `weights_only`: nothing in it can run code.
"""

import hashlib
import os
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from io import BytesIO
from pathlib import Path

import platformdirs
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

_SILENCE_S = 30.0  # from a server, before we give up
_DOWNLOAD_S = 1800.0  # in all, however it trickles
_MAX_BYTES = 1 << 30  # VGG-11 with its classifier, the largest file that is of use here, has half of it
_CHUNK = 1 << 20
_COUNTER = "num_batches_tracked"  # absent in files from before it existed, and of no effect


class WeightsError(ValueError):
    """A file of weights that can't be had, read, or loaded into the network it was given for."""


def read_state(source: str, sha256: str | None = None, cache: Path | None = None) -> dict[str, Tensor]:
    """Read a state dict from a path or an http(s) URL: safetensors, or a `.pth` of tensors only.

    A download is kept in `cache` (the user's own by default). `sha256` is checked whenever it is given.
    Raises WeightsError with the source and the cure.
    """
    data = _fetch(source, sha256, cache) if _is_url(source) else _read(Path(source))
    _check_hash(source, data, sha256)
    return _parse(source, data)


def load_file(module: nn.Module, source: str, sha256: str | None = None, *, prefix: str = "") -> None:
    """Read weights by path or URL and load them into `module`; raises what its two steps raise."""
    load_encoder(module, read_state(source, sha256), source=source, prefix=prefix)


def load_encoder(
    module: nn.Module, state: Mapping[str, Tensor], *, source: str = "the weights", prefix: str = ""
) -> list[str]:
    """Load `state` into `module` by name; gives the names of whole stages that it doesn't have.

    A file may end after any stage (`layer3`, say), and may go on beyond the module (`fc`, later stages): what
    it lacks keeps its random weights. Within a stage everything must be there and fit, else WeightsError.
    `prefix` is what the file's names have before the module's.
    """
    wanted = module.state_dict()
    state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    have = {name.split(".", 1)[0] for name in state}
    absent = sorted({name.split(".", 1)[0] for name in wanted} - have)
    needed = {name: own for name, own in wanted.items() if name.split(".", 1)[0] not in absent}
    missing = [name for name in needed if name not in state and not name.endswith(_COUNTER)]
    wrong = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(own.shape)}"
        for name, own in needed.items()
        if name in state and state[name].shape != own.shape
    ]
    # A bare stage that is followed by a present one is no file that ends early, but another network's.
    order = list(dict.fromkeys(name.split(".", 1)[0] for name in wanted))
    tail = order[len(order) - len(absent) :]
    missing += [] if sorted(tail) == absent and len(absent) < len(order) else [f"{name}.*" for name in absent]
    if missing or wrong:
        problems = [prefix + problem for problem in (*(f"{name} is missing" for name in missing), *wrong)]
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise WeightsError(
            f"{source} doesn't fit this network: {shown}. Give torchvision's file for the same one (its "
            "resnet18 for a depth of 18, say), or none"
        )
    module.load_state_dict({name: state[name] for name in needed if name in state}, strict=False)
    return absent


def _is_url(source: str) -> bool:
    scheme = urllib.parse.urlsplit(source).scheme
    if len(scheme) > 1 and scheme not in ("http", "https"):  # a single letter is a Windows drive
        raise WeightsError(f"{source} is neither a path nor an http(s) URL: download it and give its path")
    return scheme in ("http", "https")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"the weights {path} can't be read ({error.strerror}): give the path of a file, or a URL"
        ) from error


def _fetch(url: str, sha256: str | None, cache: Path | None) -> bytes:
    folder = cache if cache is not None else platformdirs.user_cache_path("pyramidion") / "weights"
    # The URL and the wanted hash name it: what was kept for another hash is not this file.
    kept = folder / hashlib.sha256(f"{url} {sha256}".encode()).hexdigest()
    if kept.is_file():
        return kept.read_bytes()
    try:
        data = _download(url)
    except (OSError, HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            f"the weights {url} can't be downloaded ({reason}): fetch the file another way and give its path"
        ) from error
    _check_hash(url, data, sha256)
    _parse(url, data)  # keep nothing that can't be read: an error page would come back for ever
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(draft, "wb") as file:
        file.write(data)
    Path(name).replace(kept)
    return data


def _download(url: str) -> bytes:
    """Raises OSError and HTTPException for what goes wrong on the way."""
    end = time.monotonic() + _DOWNLOAD_S
    data = bytearray()
    with urllib.request.urlopen(url, timeout=_SILENCE_S) as reply:  # noqa: S310  # http(s) only: see _is_url
        while chunk := reply.read1(_CHUNK):
            data += chunk
            if len(data) > _MAX_BYTES:
                raise WeightsError(f"the weights {url} are larger than {_MAX_BYTES} bytes: is it that file?")
            if time.monotonic() > end:
                raise TimeoutError(f"not here after {_DOWNLOAD_S:.0f} s")
        # read1 takes a connection that broke for the end of the file.
        expected = reply.headers.get("Content-Length")
    if expected is not None and len(data) < int(expected):
        raise ConnectionError(f"it broke off after {len(data)} of {expected} bytes")
    return bytes(data)


def _check_hash(source: str, data: bytes, sha256: str | None) -> None:
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise WeightsError(
            f"the weights {source} have SHA-256 {found}, but {sha256} was asked for: fetch it again, or give "
            "the hash of the file that you mean"
        )


class _DamagedError(Exception):
    pass


def _unpickle(data: bytes) -> object:
    try:
        return torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged bytes: a dozen kinds, KeyError and struct.error among them
        raise _DamagedError from error


def _parse(source: str, data: bytes) -> dict[str, Tensor]:
    try:
        if data[8:9] == b"{":  # a safetensors header, after its length
            return load_safetensors(data)
        state = _unpickle(data)
    except (SafetensorError, _DamagedError) as error:
        raise WeightsError(
            f"the weights {source} are neither safetensors nor a file of tensors only by torch.save: give "
            "torchvision's file as it is published"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"the weights {source} hold something else than named tensors: give a state dict")
    return dict(state)

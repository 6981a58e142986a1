"""Weights in torchvision's layout load as they are; whatever else comes gets a sentence."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from model.resnet import ResNet, standardise_rgb
from model.weights import WeightsError, load_encoder, read_state

# A few of the names in torchvision's published files, with their shapes.
_TORCHVISION = {
    18: {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer3.1.bn2.weight": (256,),
        "layer4.1.conv2.weight": (512, 512, 3, 3),
    },
    50: {
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer3.5.conv3.weight": (1024, 256, 1, 1),
        "layer4.2.conv2.weight": (512, 512, 3, 3),
        "layer4.0.downsample.1.running_mean": (2048,),
    },
}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    network = ResNet(18)
    for tensor in network.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return network.state_dict()


@pytest.mark.parametrize("depth", [18, 50])
def test_parameters_have_torchvisions_names_and_shapes(depth: int) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in ResNet(depth).state_dict().items()}
    assert _TORCHVISION[depth].items() <= own.items()
    # 11,689,512 and 25,557,032 parameters are published, with the classifier's.
    classifier = 1000 * (512 if depth == 18 else 2048) + 1000
    published = {18: 11_689_512, 50: 25_557_032}[depth]
    assert sum(p.numel() for p in ResNet(depth).parameters()) == published - classifier


def test_stages_halve_the_map_and_later_ones_can_be_left_out() -> None:
    network = ResNet(50, stages=3).eval()
    with torch.inference_mode():
        found = network.features(torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape[1:]) for f in found] == [(256, 16, 24), (512, 8, 12), (1024, 4, 6)]
    assert network.widths == [256, 512, 1024]
    with pytest.raises(ValueError, match="depth 34"):
        ResNet(34)


def test_grey_becomes_three_channels_as_imagenet_has_them() -> None:
    grey = standardise_rgb(torch.full((1, 1, 2, 2), 0.485))
    assert grey.shape == (1, 3, 2, 2)
    assert grey[0, 0].abs().max() < 1e-6
    assert torch.equal(grey, standardise_rgb(torch.full((1, 3, 2, 2), 0.485)))


@pytest.mark.parametrize("kind", ["safetensors", "pth", "old-pth"])
def test_a_local_file_loads_as_it_is(kind: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / f"weights.{kind}"
    published = {**state, "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    if kind == "safetensors":
        save_file(published, path)
    else:
        torch.save(published, path, _use_new_zipfile_serialization=kind == "pth")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    network = ResNet(18)
    assert load_encoder(network, read_state(str(path), sha256)) == []
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_a_file_that_ends_after_layer3_leaves_layer4_as_it_is(state: dict[str, torch.Tensor]) -> None:
    network = ResNet(18)
    before = network.state_dict()["layer4.0.conv1.weight"].clone()
    shorter = {name: t for name, t in state.items() if not name.startswith("layer4")}
    assert load_encoder(network, shorter) == ["layer4"]
    assert torch.equal(network.state_dict()["layer3.0.conv1.weight"], state["layer3.0.conv1.weight"])
    assert torch.equal(network.state_dict()["layer4.0.conv1.weight"], before)


def test_what_does_not_fit_is_named_and_changes_nothing(state: dict[str, torch.Tensor]) -> None:
    network = ResNet(18)
    before = network.state_dict()["conv1.weight"].clone()
    hole = {name: t for name, t in state.items() if name != "layer2.0.conv1.weight"}
    gap = {name: t for name, t in state.items() if not name.startswith("layer2")}
    shape = {**state, "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    for broken, said in (
        (hole, r"layer2\.0\.conv1\.weight is missing"),
        (gap, r"layer2\.\* is missing"),
        (shape, r"layer1\.0\.conv1\.weight is \(64, 64, 1, 1\), not \(64, 64, 3, 3\)"),
        ({"encoder.weight": torch.zeros(1)}, "bn1"),
    ):
        with pytest.raises(WeightsError, match=said):
            load_encoder(network, broken)
    assert torch.equal(network.state_dict()["conv1.weight"], before)


class _Tempting:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


def test_a_file_that_would_run_code_or_is_no_weights_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w.pth"
    for content in ({"conv1.weight": _Tempting()}, {"epoch": 3}, [torch.zeros(1)]):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r"w\.pth"):
            read_state(str(path))
    for data in (
        b"",
        b"hello\n",
        b"<html>not found</html>",
        b"\x80\x02\x8a\nl\xfc",
        save({"a": torch.zeros(9)})[:-4],
    ):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match="neither safetensors nor"):
            read_state(str(path))
    assert capsys.readouterr().out == ""
    with pytest.raises(WeightsError, match="can't be read"):
        read_state(str(tmp_path / "absent.pth"))
    with pytest.raises(WeightsError, match="neither a path nor"):
        read_state("ftp://example.org/w.pth")


def test_another_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="fetch it again"):
        read_state(str(path), "0" * 64)


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A URL, and the paths that were asked for."""
    asked: list[str] = []
    good = save({"a": torch.arange(3.0)})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            data = b"<html>" if self.path == "/page" else good
            self.send_response(404 if self.path == "/none" else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:-4] if self.path == "/short" else data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


def test_a_download_is_kept_and_nothing_broken_is(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = server
    for _ in range(2):
        assert torch.equal(read_state(f"{url}/good", cache=tmp_path)["a"], torch.arange(3.0))
    assert asked == ["/good"]
    for path, said in (("/page", "neither"), ("/none", "404|Not Found"), ("/short", "broke off")):
        with pytest.raises(WeightsError, match=said):
            read_state(url + path, cache=tmp_path)
    with pytest.raises(WeightsError, match="fetch it again"):
        read_state(f"{url}/good", "0" * 64, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1

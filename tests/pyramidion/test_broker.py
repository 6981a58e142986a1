"""The embedded broker starts in any home, however it is called."""

from pathlib import Path

import pytest

from tests.conftest import Broker


@pytest.mark.parametrize("name", ['double " quote', "back\\slash", "new\nline", "ünï çödé"])
def test_it_starts_in_a_home_with_any_name(name: str, tmp_path: Path) -> None:
    home = tmp_path / name
    server = Broker(home)
    try:
        server.start()
    finally:
        server.kill()
    assert (home / "broker" / "appendonlydir").is_dir()

"""The page's address is tried before the page starts, as its server will bind it."""

import socket

import pytest

from pyramidion.errors import UserError
from pyramidion.services import _page_address
from web.settings import WebSettings


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def hosts() -> list[str]:
    return ["127.0.0.1", "localhost", *(["::1", "[::1]", "::"] if has_ipv6() else [])]


@pytest.mark.parametrize("host", hosts())
def test_a_free_port_is_taken_where_asked(host: str, home: None) -> None:
    said: list[str] = []
    settings = WebSettings(web_host=host, web_port=0)
    bound, port = _page_address(settings, said.append)
    assert (bound, said) == (host.strip("[]"), [])
    with socket.create_server((bound, port), family=socket.AF_INET6 if ":" in bound else socket.AF_INET):
        pass


def test_a_port_that_is_taken_is_said_and_another_one_found(home: None) -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert _page_address(WebSettings(web_port=port), said.append)[1] != port
    assert str(port) in said[0]


def test_a_page_that_just_stopped_leaves_its_port(home: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        connection, _ = server.accept()
        connection.close()  # closed by the server first: the port lingers in TIME_WAIT
        client.close()
    assert _page_address(WebSettings(web_port=port), lambda _: None) == ("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(host: str, home: None) -> None:
    with pytest.raises(UserError, match=f"PYRAMIDION_WEB_HOST={host}"):
        _page_address(WebSettings(web_host=host), lambda _: None)

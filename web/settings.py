"""What the page can be told from outside."""

from ipaddress import ip_address

from pydantic import Field, SecretStr

from db.settings import Settings, SettingsError


class WebSettings(Settings):
    """Settings of the page."""

    web_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address that the page listens on. Anything but this machine's own needs a password.",
    )
    web_port: int = Field(
        default=8000, ge=0, le=65535, description="Port that the page listens on; 0 takes a free one."
    )
    web_user: str = Field(
        default="pyramidion",
        pattern=r"^[^:\x00-\x1f\x7f]+$",  # RFC 7617: the colon ends the name
        description="Name to log in to the page with.",
    )
    web_password: SecretStr | None = Field(
        default=None,
        min_length=8,
        description="Password to log in to the page with, 8 characters or more. "
        "Unset: none is asked for, and the page can only be opened on this machine.",
    )


class OpenBindError(SettingsError):
    """The page would be open to the network without a password."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"the page would listen on {host!r}, open to the network without a password: "
            "set PYRAMIDION_WEB_PASSWORD (or name a file that holds it in PYRAMIDION_WEB_PASSWORD_FILE), "
            "or listen on 127.0.0.1"
        )


def refuse_open_bind(settings: WebSettings, host: str) -> None:
    """Raise OpenBindError where `host` can be reached from other machines and no password is set."""
    if settings.web_password is None and not is_loopback(host):
        raise OpenBindError(host)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can mean itself by `host`, a name or an address.

    A name other than localhost counts as reachable from outside: what it resolves to may change.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False

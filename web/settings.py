"""What the page can be told from outside."""

from datetime import timedelta
from ipaddress import ip_address

from pydantic import Field

from db.logins import LONGEST_IDLE
from db.settings import Settings


class WebSettings(Settings):
    """Settings of the page."""

    web_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address that the page listens on. Whoever reaches it has to log in; where nobody has "
        "an account yet, it answers only this machine, and only where it listens there alone.",
    )
    web_port: int = Field(
        default=8000, ge=0, le=65535, description="Port that the page listens on; 0 takes a free one."
    )
    web_https: bool = Field(
        default=False,
        description="The page is reached over https only, through a proxy: its cookie is marked so, and "
        "browsers are told to stay with https.",
    )
    web_login_idle_minutes: float = Field(
        default=60,
        gt=0,
        le=LONGEST_IDLE.total_seconds() / 60,
        description="Minutes without use after which a login ends.",
    )
    web_login_hours: float = Field(
        default=12, gt=0, le=365 * 24, description="Hours after which a login ends, used or not."
    )
    web_upload_max_bytes: int = Field(
        default=256_000_000,
        ge=1_000_000,
        description="Largest request with images that the page takes; stations split what is larger.",
    )
    web_station_down_s: float = Field(
        default=120,
        gt=0,
        le=7 * 24 * 3600,
        description="Seconds without an image after which the live page says that a station is down.",
    )

    def login_lasts(self) -> tuple[timedelta, timedelta]:
        """Give for how long a login may be idle, and how long it may last at all."""
        return timedelta(minutes=self.web_login_idle_minutes), timedelta(hours=self.web_login_hours)


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

"""What stations and intake can be told from outside."""

from pathlib import Path

from pydantic import Field, SecretStr

from db.settings import DatabaseSettings, Settings


class CaptureSettings(Settings):
    """Settings of capturing: which images are taken, where they wait, and for how long."""

    spool_folder: Path | None = Field(
        default=None,
        description="Folder on the station's own disk where images wait to be taken in. "
        "Unset: the folder spool in the home folder.",
    )
    max_image_bytes: int = Field(
        default=256 * 1024 * 1024, ge=1024, description="Largest image file in bytes that is taken in."
    )
    max_image_pixels: int = Field(
        default=89_478_485,
        ge=1,
        # Pillow itself warns above its quarter of a gigabyte and refuses twice as much.
        le=178_956_970,
        description="Largest image in pixels that is taken in and decoded.",
    )
    intake_batch: int = Field(
        default=64, ge=1, le=1024, description="Most images that are taken in and committed at once."
    )
    intake_apart_s: float = Field(
        default=0.05,
        ge=0,
        le=5,
        description="Least time in seconds between the beginnings of two of these: images that come by then "
        "are taken in together. The first after a pause never waits, and none does once they fill a batch.",
    )
    gather_s: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="Longest time in seconds that an image waits for others to be spooled with it.",
    )
    capture_ahead: int = Field(
        default=256,
        ge=1,
        description="Images that may wait in the spool before the source is made to wait as well.",
    )
    spool_max_bytes: int = Field(
        default=10 * 1024**3,
        ge=1,
        description="Bytes of images that may wait in the spool, with what an earlier run left there, before "
        "the source is made to wait as well.",
    )
    spool_min_free_bytes: int = Field(
        default=256 * 1024**2,
        ge=0,
        description="Bytes that stay free on the spool's disk: with less, the source is made to wait.",
    )
    backlog_max_s: float = Field(
        default=300,
        gt=0,
        description="Age in seconds of the oldest image without a verdict above which intake slows down, so "
        "that images wait in the spool instead.",
    )
    image_store_min_free_bytes: int = Field(
        default=1024**3,
        ge=0,
        description="Bytes that stay free where images are kept in a folder: with less, intake waits.",
    )
    poll_s: float = Field(
        default=0.5, gt=0, le=3600, description="Seconds between two looks at a watched folder."
    )
    settle_s: float = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="Seconds that a file in a watched folder must stay unchanged to be taken as complete.",
    )
    retry_max_s: float = Field(
        default=15.0,
        gt=0,
        le=3600,
        description="Longest wait in seconds between two attempts while database or image store is away.",
    )

    upload_url: str | None = Field(
        default=None,
        description="Address of a Pyramidion server, such as https://inspection.plant.example, that "
        "`pyramidion capture` uploads images to. Unset: the database and the image store of the settings.",
    )
    upload_token: SecretStr | None = Field(
        default=None, description="Token with the scope upload that the station shows to that server."
    )
    upload_ca_file: Path | None = Field(
        default=None,
        description="File of the certificate authorities (PEM) that may vouch for that server. Unset: those "
        "of the system.",
    )

    def spool(self) -> Path:
        """Give the folder under which each station has its spool."""
        folder = self.spool_folder or DatabaseSettings().home / "spool"
        return folder.expanduser().absolute()

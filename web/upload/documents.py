"""What stations say about the images that they upload, and what they are told."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from db.ids import EPOCH, uuid7, uuid7_time

MOST_IMAGES: Final = 256  # of a request
MOST_IDS: Final = 1000  # of a question
EXAMPLE_ID: Final = "0198f5d2-6d3c-7c31-9d0a-2b6a0f6d1f55"
_SHA256: Final = "^[0-9a-f]{64}$"

Name = Annotated[str, Field(max_length=4096)]  # what no database keeps is refused as an image, with a reason


class UnidentifiedImageError(Exception):
    """An image without id and time: sent twice, it would be inspected twice."""

    def __init__(self, which: str) -> None:
        super().__init__(
            f"{which} needs captured_at, or an id (a UUIDv7, which carries that time): without, what is sent "
            "twice would be two inspections"
        )


class QueryDocument(BaseModel):
    """What is known of one image. Of `id` and `captured_at` one is needed; the other follows from it."""

    model_config = ConfigDict(extra="forbid")

    product: Name = Field(default="", description="What is on it; has to be set up.", examples=["flange"])
    station: Name | None = Field(
        default=None,
        description="Where it was taken; may be left out where the token is of one station.",
        examples=["cam-3"],
    )
    line: Name | None = Field(default=None, description="The line that the station belongs to.")
    serial: Name | None = Field(default=None, description="The part's serial number.", examples=["F-000017"])
    lot: Name | None = Field(default=None, description="The lot that the part belongs to.", examples=["L7"])
    captured_at: AwareDatetime | None = Field(
        default=None,
        description="When it was taken, with time zone; unset: the time in the id.",
        examples=["2026-03-01T06:00:00.250Z"],
    )
    id: UUID | None = Field(
        default=None,
        description="A UUIDv7 whose time is captured_at. Unset: made from image, product, station and time, "
        "so that the same image sent twice is one inspection.",
        examples=[EXAMPLE_ID],
    )
    name: Name | None = Field(default=None, description="What people know the image by, such as its path.")
    sha256: str | None = Field(
        default=None, pattern=_SHA256, description="Of the image file: what came otherwise is not taken."
    )

    @field_validator("captured_at")
    @classmethod
    def _in_utc(cls, at: datetime | None) -> datetime | None:
        try:
            return None if at is None else max(at.astimezone(UTC), EPOCH)
        except OverflowError:
            raise ValueError("no time that a calendar has") from None

    def time(self, which: str) -> datetime:
        """Give when the image was taken. Raises UnidentifiedImageError where nothing says so."""
        if self.captured_at is not None:
            return self.captured_at
        if self.id is None:
            raise UnidentifiedImageError(which)
        try:
            return uuid7_time(self.id)
        except ValueError:
            raise UnidentifiedImageError(f"{which}, whose id {self.id} is no UUIDv7,") from None


class FrameDocument(QueryDocument):
    """What is known of one image. Of `id` and `captured_at` one is needed; the other follows from it."""

    product: Name = Field(description="What is on it; has to be set up.", examples=["flange"])


def id_of(product: str, station: str, at: datetime, sha256: str) -> UUID:
    """Make the id of an image that came without one: the same image sent again has the same."""
    return uuid7(at, hashlib.sha256(f"{product}\0{station}\0{sha256}".encode()).digest())


class RefusedDocument(BaseModel):
    """An image that is not inspected, and why."""

    model_config = ConfigDict(extra="forbid")

    id: UUID | None = Field(description="As sent or made; null where there was no file to make it from.")
    name: Name = Field(examples=["/in/bad.png"])
    reason: Name = Field(examples=["not an image: its content is none of JPEG, PNG, BMP, TIFF, WEBP"])
    product: Name = Field(examples=["flange"])
    station: Name | None = Field(default=None, examples=["cam-3"])


class TakenDocument(BaseModel):
    """What became of each image. It is stored, and will be judged, or it is refused: nothing is left out."""

    accepted: list[UUID] = Field(description="Inspections that are new.", examples=[[EXAMPLE_ID]])
    known: list[UUID] = Field(description="Inspections that were there already.", examples=[[]])
    refused: list[RefusedDocument] = Field(description="Images that are not inspected; each is an event.")
    unannounced: int = Field(
        description="How many of the accepted ones could not be queued just now; the sweeper queues them.",
        examples=[0],
    )


class AskedDocument(BaseModel):
    """Ids of images that a station would send."""

    model_config = ConfigDict(extra="forbid")

    ids: list[UUID] = Field(max_length=MOST_IDS, examples=[[EXAMPLE_ID]])


class KnownDocument(BaseModel):
    """Those of the ids whose images needn't be sent."""

    known: list[UUID] = Field(examples=[[EXAMPLE_ID]])


class RefusalsDocument(BaseModel):
    """Files that could not be read at the station."""

    model_config = ConfigDict(extra="forbid")

    refused: list[RefusedDocument] = Field(max_length=MOST_IDS)


class NotedDocument(BaseModel):
    """How many refusals have an event now."""

    noted: int = Field(examples=[1])


def request_body() -> dict[str, Any]:
    """Describe the two ways to send images, for the API's document."""
    one = FrameDocument.model_json_schema()
    binary = {"type": "string", "format": "binary"}
    frames = {
        "type": "array",
        "items": one,
        "minItems": 1,
        "maxItems": MOST_IMAGES,
        "description": "As JSON: the n-th says what the n-th image is.",
    }
    many = {
        "type": "object",
        "required": ["frames", "images"],
        "properties": {
            "frames": frames,
            "images": {"type": "array", "items": binary, "minItems": 1, "maxItems": MOST_IMAGES},
        },
    }
    encoding = {"frames": {"contentType": "application/json"}}
    image = {"schema": binary}
    return {
        "required": True,
        "description": "Images with a JSON part that describes them, or one image, described in the query.",
        "content": {
            "multipart/form-data": {"schema": many, "encoding": encoding},
            "image/png": image,
            "image/jpeg": image,
            "image/*": image,
            "application/octet-stream": image,
        },
    }

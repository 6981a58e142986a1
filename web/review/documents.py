"""What the API says of reviews, and is told."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from db.review_queue import COUNTED, Source
from db.reviews import LONGEST_REASON
from db.users import LONGEST_PASSWORD
from web.review.shown import Shown

_ID = "019ca7fb-22a0-7c31-9d0a-2b6a0f6d1f55"


class ReviewDocument(BaseModel):
    """What a person said of a verdict; the newest one counts."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(examples=[_ID])
    inspection_id: UUID
    verdict: Literal["confirm", "overrule", "inconclusive"]
    reviewer: str = Field(examples=["ada"])
    reason_code: str | None = Field(examples=["lighting"])
    reason: str | None = Field(examples=["a reflection of the new lamp"])
    created_at: datetime
    signature: dict[str, Any] | None = Field(description="Who signed it, when and meaning what.")


class NewReview(BaseModel):
    """What a person says of a verdict."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"verdict": "overrule", "reason_code": "lighting", "known": None}]},
    )

    verdict: Literal["confirm", "overrule", "inconclusive"] = Field(
        description="To confirm an ng, or to overrule an ok, is to call the part bad; to overrule an ng, or "
        "to confirm an ok, is to call it good. What was judged inconclusive or error can't be overruled."
    )
    reason_code: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="One of PYRAMIDION_REASON_CODES; whoever overrules gives one."
    )
    reason: Annotated[str, Field(max_length=LONGEST_REASON)] | None = Field(
        None, description="In words; the code `other` takes it."
    )
    password: Annotated[str, Field(max_length=LONGEST_PASSWORD)] | None = Field(
        None, description="The reviewer's own, to sign; overruling an ng may take it."
    )
    known: UUID | None = Field(
        None,
        description="The newest review that the reviewer has seen, null for none. Where there is a newer "
        "one, the answer is 409 with `reviews`, and this one is not taken.",
    )


class OpinionDocument(BaseModel):
    """What a challenger says of the image."""

    model_config = ConfigDict(from_attributes=True)

    model_version: str
    verdict: str = Field(examples=["ok"])
    score: float | None
    threshold: float | None
    error: str | None


class ClaimDocument(BaseModel):
    """Who looks at a part, and until when nobody else is given it."""

    model_config = ConfigDict(from_attributes=True)

    inspection_id: UUID = Field(examples=[_ID])
    holder: str = Field(examples=["ada"])
    until: datetime
    newest_review: UUID | None = Field(None, description="The newest review of the part; null for none.")


class PartDocument(BaseModel):
    """A part to look at."""

    inspection_id: UUID = Field(examples=[_ID])
    sources: list[Source] = Field(description="What it is in the queue for.", examples=[["ng", "borderline"]])
    product: str
    station: str
    line: str | None
    serial: str | None
    lot: str | None
    captured_at: datetime
    verdict: str = Field(examples=["ng"])
    score: float | None
    threshold: float | None
    model_version: str | None
    regions: list[dict[str, float]]
    opinions: list[OpinionDocument]
    reviews: list[ReviewDocument] = Field(description="The oldest first; the last one is `known`.")
    view: str = Field(description="Address of the image, drawn upright.")
    overlay: str | None = Field(description="Address of the image with its anomaly map; null without one.")
    claim: ClaimDocument


class NextPart(BaseModel):
    """The part that is given, if one waits."""

    part: PartDocument | None = Field(description="Null where nothing waits that nobody else looks at.")
    came_round: bool = Field(description="Nothing came behind `after`: this is the first again.")


class CountDocument(BaseModel):
    """How many parts wait for a reason."""

    model_config = ConfigDict(from_attributes=True)

    parts: int = Field(examples=[42])
    complete: bool = Field(description=f"False: there are more than {COUNTED}, which are not counted.")


class Counts(BaseModel):
    """How many parts wait for a review, by what they are there for; `any` has each once."""

    counts: dict[str, CountDocument]


def part(shown: Shown) -> PartDocument | None:
    """Give a part that was handed out; None where retention has taken its verdict meanwhile."""
    it, result = shown.detail.inspection, shown.detail.result
    if result is None or shown.claim is None:
        return None
    address = f"/inspections/{it.id}"
    has_map = shown.detail.map is not None and shown.detail.map_let_go is None
    said = [ReviewDocument.model_validate(one) for one in shown.detail.reviews]
    return PartDocument(
        inspection_id=it.id,
        sources=shown.sources,
        product=it.product,
        station=it.station,
        line=it.line,
        serial=it.serial,
        lot=it.lot,
        captured_at=it.captured_at,
        verdict=result.verdict,
        score=result.score,
        threshold=result.threshold,
        model_version=result.model_version,
        regions=result.regions,
        opinions=[OpinionDocument.model_validate(one) for one in shown.opinions],
        reviews=said,
        view=f"{address}/view.png",
        overlay=f"{address}/overlay.png" if has_map else None,
        claim=ClaimDocument.model_validate(shown.claim),
    )

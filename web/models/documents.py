"""What the API says of models and takes to let another one judge."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from web.asked import Reason, Text

ID = "d6fc8be3c1b0ae0b5a2ab2d2b4a4b4d6a7a0a1c9a8b7c6d5e4f30212a3b4c5d6"
VersionId = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Secret = Annotated[str, StringConstraints(max_length=1024)]


class Standing(BaseModel):
    """How far a challenger is."""

    model_config = ConfigDict(from_attributes=True)

    images: int = Field(description="Images that it scored beside the champion.", examples=[120])
    wanted: int = Field(description="Images that decide.", examples=[200])
    waits: list[str] = Field(description="Why it waits for a person; empty while it does not.")


class Version(BaseModel):
    """A model version in a list."""

    id: str = Field(description="SHA-256 of its manifest.", examples=[ID])
    product: str = Field(examples=["tile"])
    plays: str | None = Field(description="champion, challenger, or null.", examples=["champion"])
    created_at: datetime
    training_images: int = Field(examples=[1200])
    threshold: float | None = Field(description="Scores above it are rejected.", examples=[0.2])
    note: str | None = Field(description="What it was trained from.")


class Told(BaseModel):
    """An event about a version."""

    model_config = ConfigDict(from_attributes=True)

    id: Any
    at: datetime
    kind: str = Field(examples=["model.promoted"])
    actor: str = Field(examples=["ada"])
    detail: dict[str, Any] = Field(
        description="What the audit trail keeps, with the signature where it is signed."
    )


class Detail(BaseModel):
    """All there is about a version; what is null was not told."""

    id: str = Field(examples=[ID])
    product: str
    plays: str | None
    created_at: datetime
    training_images: int
    note: str | None
    preset: str | None = Field(examples=["pyramid"])
    size: Any = Field(
        description="Width and height in pixels to which images are scaled.", examples=[[256, 256]]
    )
    epochs: int | None
    threshold: float | None
    false_reject_rate: float | None = Field(description="That it was calibrated for.")
    calibrated_on: int | None = Field(description="Images.")
    calibration: str | None
    dataset: str | None = Field(description="SHA-256 of the list of images that it was trained on.")
    dataset_summary: dict[str, Any] | None
    gate: dict[str, Any] | None = Field(description="What the gate said, with the counts behind it.")
    run: str | None = Field(description="The training run that made it.")
    manifest: dict[str, Any]
    events: list[Told] = Field(description="What became of it, oldest first.")


class Agreement(BaseModel):
    champion: str = Field(examples=["ok"])
    challenger: str = Field(examples=["ng"])
    images: int = Field(examples=[3])


class Shadow(BaseModel):
    """What a challenger said of what its champion judged."""

    champion: str
    challenger: str
    images: int
    verdicts: list[Agreement]
    disagreements: int
    called_bad: int = Field(description="Parts that people call bad.")
    called_bad_and_missed: int
    called_good: int
    called_good_and_rejected: int


class Beside(BaseModel):
    """Two versions beside each other."""

    product: str
    models: list[dict[str, Any]]
    shadow: Shadow | None


class Disagreement(BaseModel):
    """An image that two models judge differently."""

    model_config = ConfigDict(from_attributes=True)

    inspection_id: Any
    station: str
    champion: str
    champion_score: float | None
    champion_threshold: float | None
    challenger: str
    challenger_score: float | None
    challenger_threshold: float | None
    error: str | None
    called: str | None = Field(description="good or bad, as people call the part; null: nobody did.")


class Judging(BaseModel):
    """Who judges a product."""

    product: str = Field(examples=["tile"])
    champion: str | None
    former: str | None = Field(description="Who judges again after a rollback.")
    challenger: str | None
    standing: Standing | None = Field(description="Of the challenger.")


class Promote(BaseModel):
    """Let the version of the address judge."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"expected": ID, "why": "passed the gate"}]}
    )

    expected: VersionId | None = Field(
        description="Who judges now; null: nobody. Where it is another one, nothing is changed."
    )
    why: Reason = Field(description="For the audit trail.")
    password: Secret | None = Field(default=None, description="Signs it, where that is asked for.")


class RollBack(BaseModel):
    """Let the champion before `expected` judge again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"product": "tile", "expected": ID, "why": "escapes"}]},
    )

    product: Text
    expected: VersionId
    why: Reason
    password: Secret | None = None


class Withdraw(BaseModel):
    """Let the challenger `expected` score no more."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"product": "tile", "expected": ID, "why": "too slow"}]},
    )

    product: Text
    expected: VersionId
    why: Reason

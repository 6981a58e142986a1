"""Which acts take an electronic signature, and which reasons a review may give: what the settings say."""

from typing import Any, Final, Literal

from pydantic import Field, field_validator

from db.review_queue import BORDERLINE
from db.settings import Settings

Act = Literal["promotion", "policy", "retention", "overrule"]
ACTS: Final[dict[Act, str]] = {
    "promotion": "letting another model judge",
    "policy": "changing a policy",
    "retention": "letting facts go, or lifting a hold,",
    "overrule": "overruling an ng",
}


class ApprovalSettings(Settings):
    """Settings of reviews, and of who has to sign for what."""

    require_signature: str = Field(
        default="",
        description="Acts that take an electronic signature (--sign-as USER), separated by commas: promotion "
        "(of a model), policy (change of one), retention (by hand, and lifting a hold), overrule (of an ng). "
        "Unset: none.",
    )
    reason_codes: str = Field(
        default="defect,false_alarm,contamination,lighting,position,image_quality,other",
        description="Codes that a review may give as its reason, separated by commas. `other` always takes a "
        "text.",
    )

    review_borderline: float = Field(
        default=BORDERLINE,
        ge=0,
        le=0.5,
        description="Scores that differ from their threshold by up to this share of it are borderline, and "
        "people are asked to review those parts. Counts for what is judged from then on.",
    )
    review_claim_minutes: float = Field(
        default=5,
        ge=0.5,
        le=120,
        description="Minutes for which a part that the review queue gave to one person is given to nobody "
        "else, unless its reviewer goes on looking at it.",
    )

    @field_validator("require_signature")
    @classmethod
    def _acts(cls, written: str) -> str:
        unknown = set(_words(written)) - set(ACTS)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))} is none of {', '.join(ACTS)}")
        return written

    @field_validator("reason_codes")
    @classmethod
    def _codes(cls, written: str) -> str:
        if not _words(written) or any(len(one) > 64 for one in _words(written)):
            raise ValueError("give one code or more, of 64 characters at most")
        return written

    def acts(self) -> list[str]:
        return _words(self.require_signature)

    def codes(self) -> list[str]:
        return _words(self.reason_codes)


class SignatureRequiredError(Exception):
    """An act that takes a signature was about to be done without."""

    def __init__(self, act: Act) -> None:
        super().__init__(
            f"{ACTS[act]} takes an electronic signature here (PYRAMIDION_REQUIRE_SIGNATURE names {act}): "
            "give --sign-as USER, or on the page your password. Nothing was changed"
        )


def required(act: Act) -> bool:
    """Tell whether the settings have the act signed; raises db.settings.SettingsError."""
    return act in ApprovalSettings().acts()


def require(act: Act, signature: dict[str, Any] | None) -> None:
    """Raise SignatureRequiredError where the act takes a signature and has none."""
    if signature is None and required(act):
        raise SignatureRequiredError(act)


def _words(written: str) -> list[str]:
    return [word.strip() for word in written.split(",") if word.strip()]

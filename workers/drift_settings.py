"""What the watch over drift can be told from outside."""

from pydantic import Field

from db.settings import Settings


class DriftSettings(Settings):
    """The same for all workers of a plant: windows of several lengths would be counted side by side."""

    drift_every_s: float = Field(
        default=60, gt=0, le=3600, description="Seconds between two looks for windows that are over."
    )
    drift_window_s: int = Field(
        default=900,
        ge=0,
        le=86400,
        description="Seconds of a window whose scores, verdicts and looks are compared with what is usual. "
        "0: nothing is watched.",
    )
    drift_wait_s: float = Field(
        default=120,
        ge=0,
        description="Seconds without another image of a window that is over, after which it is closed. What "
        "comes later is counted, but changes no statistic.",
    )
    drift_images: int = Field(
        default=50, ge=2, description="Images that a window needs for its statistics to say anything."
    )
    drift_psi: float = Field(
        default=0.25,
        gt=0,
        description="Limit of the population stability index of scores; higher where few images say less.",
    )
    drift_ks: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Limit of the Kolmogorov-Smirnov distance of scores; higher where few images say less.",
    )
    drift_z: float = Field(
        default=4,
        gt=0,
        description="Limit of how far brightness, contrast, sharpness and saturation lie from those of the "
        "training images, in their deviations.",
    )
    drift_rate_factor: float = Field(
        default=2,
        ge=1,
        description="How many times the station's usual rate of ng, or inconclusive, is its limit; higher "
        "where chance alone makes more.",
    )
    drift_keep_days: int = Field(default=90, ge=1, description="Days that closed windows are kept.")
    drift_retrain_pause_s: float = Field(
        default=86400,
        ge=0,
        description="Seconds after a training that drift asked for in which alarms of the product ask for no "
        "other.",
    )

"""What a training run trains on, as far as it can be told from outside."""

from pydantic import Field

from db.settings import Settings


class SnapshotSettings(Settings):
    """Settings of the data snapshot."""

    dataset_images: int = Field(
        default=1000,
        ge=20,
        le=20_000,
        description="Images that a training run takes from the line at most, with those it holds out. "
        "They are held in memory meanwhile, as their files are.",
    )
    dataset_oldest: float = Field(
        default=0.2,
        ge=0,
        le=0.9,
        description="Share of these that is taken from the oldest images there are, against forgetting. "
        "0: only the newest.",
    )
    dataset_alike: float = Field(
        default=1.0,
        ge=0,
        le=64,
        description="Two images of a product whose colours, scaled to 32 x 32, differ by less than so many "
        "of 255 levels (root mean square, whatever the brightness) are near-duplicates, and one is taken. "
        "0: only identical files are.",
    )
    dataset_tail: float = Field(
        default=0.05,
        ge=0,
        le=0.2,
        description="Share of the images to train on that may be left out for a score far above those around "
        "them. 0: none is.",
    )

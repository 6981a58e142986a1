"""What the worker processes can be told from outside."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from db.settings import DatabaseSettings, Settings

BROKER_SCHEMES = ("redis://", "rediss://")


class WorkerSettings(Settings):
    """Settings of the queue and of the processes that empty it."""

    broker_url: SecretStr | None = Field(
        default=None,
        description="Redis or Valkey to queue on, such as redis://:password@host:6379/0. "
        "Unset: the embedded broker of `pyramidion up`.",
    )
    device: str = Field(
        default="auto",
        description="Where models run: auto (a GPU when there is one), cpu, cuda, or cuda:N.",
    )
    bf16: bool = Field(
        default=False,
        description="Score in bfloat16 where the hardware is made for it: faster, with scores that differ by "
        "up to 5 %; what lies near the threshold is scored again in float32, so verdicts stay the same.",
    )
    batch_wait_s: float = Field(
        default=0.02,
        gt=0,
        le=5,
        description="Longest time in seconds that a message waits for others to be gathered with it while "
        "the device has nothing to do; while it has, messages gather until it has nearly done with that.",
    )
    batch_images: int = Field(
        default=64,
        ge=1,
        le=1024,
        description="Images that a scoring worker gathers, scores and commits in one transaction.",
    )
    batch_s: float = Field(
        default=0.4,
        gt=0,
        description="Seconds that a model may take for a batch: a slow one gets fewer images at once, so "
        "that the first needn't wait for the last.",
    )
    torch_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Processor threads that a model computes with. 0: one less than there are cores, so that "
        "other processes of this machine don't make every step wait for a thread that they displaced.",
    )
    decode_threads: int = Field(
        default=2, ge=1, le=64, description="Threads that decode images and encode maps beside the model."
    )
    models_max_bytes: int = Field(
        default=2 * 1024**3,
        ge=0,
        description="Bytes of models that a worker keeps loaded, by the size of their weights; the least "
        "recently used goes first, the one in use stays.",
    )
    max_image_pixels: int = Field(
        default=89_478_485,
        ge=1,
        description="Largest image in pixels that is taken in and decoded.",
    )
    max_attempts: int = Field(
        default=3,
        ge=1,
        le=20,
        description="Attempts at an image that crashes or fails scoring before it is judged `error`.",
    )
    hung_after_s: float = Field(
        default=60,
        ge=1,
        description="Seconds without progress on a batch after which a scoring worker takes itself for hung "
        "and ends, to be started anew. Longer than the slowest device takes for a batch.",
    )
    inconclusive_band: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Half-width of the band around the threshold, as a share of it, judged `inconclusive`.",
    )
    map_bits: Literal[8, 16] = Field(default=8, description="Bits per pixel of stored anomaly maps: 8 or 16.")
    sweep_every_s: float = Field(
        default=5, gt=0, description="Seconds between two looks for accepted images that nobody judged."
    )
    sweep_after_s: float = Field(
        default=10,
        gt=0,
        description="Seconds until an accepted image that neither queue nor worker holds is queued again.",
    )
    sweep_limit: int = Field(default=2048, ge=1, description="Most images that one sweep queues again.")
    seal_every_s: float = Field(
        default=15,
        gt=0,
        le=60,
        description="Seconds between two looks for facts that no block of the ledger holds.",
    )
    replay_sample: int = Field(
        default=20, ge=0, description="Stored verdicts that are replayed each day, drawn at random. 0: none."
    )
    training_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Processor threads that a training computes with: what bounds its share of a machine "
        "that also scores. 0: as PYRAMIDION_TORCH_THREADS says.",
    )
    training_processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes that fit a model together, each on a GPU of its own from the first on; "
        "without GPUs, on the processor.",
    )
    training_nice: int = Field(
        default=10,
        ge=0,
        le=19,
        description="How far a training worker stands back for other processes of its machine, as nice(1) "
        "counts.",
    )
    training_lease_s: float = Field(
        default=30,
        ge=2,
        description="Seconds without a sign of life after which another training worker takes a run up.",
    )
    training_attempts: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Times that a run is taken up whose training worker was killed or hung, before it fails.",
    )
    training_hung_after_s: float = Field(
        default=900,
        ge=10,
        description="Seconds without progress after which a training worker takes itself for hung and ends, "
        "to be started anew.",
    )
    visibility_timeout_s: int = Field(
        default=600,
        ge=30,
        description="Seconds after which the broker hands an unacknowledged message to another worker. "
        "Long, since the sweeper is much faster.",
    )

    @field_validator("broker_url")
    @classmethod
    def _redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(BROKER_SCHEMES):
            raise ValueError(
                f"the broker is a Redis or Valkey: the URL begins with {' or '.join(BROKER_SCHEMES)}"
            )
        return url

    def broker(self) -> str:
        """Give the broker's URL; raises NoBrokerError where none is set and no `up` has ever run."""
        if self.broker_url is not None:
            return self.broker_url.get_secret_value()
        file = broker_url_file(DatabaseSettings().home)
        try:
            return file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise NoBrokerError(file) from None


class NoBrokerError(Exception):
    """There is no broker to talk to."""

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"no broker is set and {file} does not exist: start `pyramidion up` (it brings its own), "
            "or set PYRAMIDION_BROKER_URL to a Redis or Valkey"
        )


def broker_url_file(home: Path) -> Path:
    """Where `pyramidion up` leaves the embedded broker's URL (readable by its owner only)."""
    return home / "broker" / "url"

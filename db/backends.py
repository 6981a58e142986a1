"""What lies under the image store: a folder, an S3-compatible store, or memory, through obstore."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from obstore.store import LocalStore, MemoryStore, S3Store

from db.home import private_folder
from db.settings import DatabaseSettings, SettingsError, redacted

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3CredentialProvider

# A store that is away must be noticed while the spool still has room, not after obstore's own 3 minutes.
CLIENT: "ClientConfig" = {"connect_timeout": timedelta(seconds=2), "timeout": timedelta(seconds=20)}
RETRIES: "RetryConfig" = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}


@dataclass(frozen=True)
class Backend:
    """An open store, in words that may be shown, and its folder where it is one on this machine."""

    store: LocalStore | S3Store | MemoryStore
    where: str
    folder: Path | None = None


def open_backend(settings: DatabaseSettings) -> Backend:
    """Open what PYRAMIDION_IMAGE_STORE_URL names; raises SettingsError."""
    if settings.image_store_url is None:
        return _folder(settings.home / "images")
    url = urlsplit(settings.image_store_url.get_secret_value())
    openers: dict[str, Callable[[], Backend]] = {
        "file": lambda: _folder(Path(unquote(url.path))),
        "s3": lambda: _bucket(settings, url),
        "memory": lambda: Backend(MemoryStore(), "memory"),
    }
    if url.scheme not in openers:
        raise SettingsError(
            f"PYRAMIDION_IMAGE_STORE_URL begins with {url.scheme!r}; Pyramidion speaks file:///folder, "
            "s3://bucket/prefix and memory://"
        )
    return openers[url.scheme]()


def _folder(folder: Path) -> Backend:
    if not folder.is_absolute():
        raise SettingsError(
            f"PYRAMIDION_IMAGE_STORE_URL names the folder {str(folder)!r}; write it whole: file:///srv/images"
        )
    private_folder(folder, "set PYRAMIDION_IMAGE_STORE_URL or PYRAMIDION_HOME to one you may write")
    return Backend(LocalStore(folder), f"folder {folder}", folder)


def _bucket(settings: DatabaseSettings, url: SplitResult) -> Backend:
    bucket, prefix = url.hostname or "", url.path.strip("/")
    if not bucket or url.username is not None:
        raise SettingsError(
            "PYRAMIDION_IMAGE_STORE_URL must read s3://bucket/prefix; keys go into "
            "PYRAMIDION_S3_ACCESS_KEY_ID and PYRAMIDION_S3_SECRET_ACCESS_KEY"
        )
    config: S3Config = {
        "region": settings.s3_region
        or os.environ.get("AWS_REGION")
        or os.environ.get("AWS_DEFAULT_REGION")
        or "us-east-1"
    }
    client = CLIENT.copy()
    endpoint = settings.image_store_endpoint
    if endpoint is not None:
        config["endpoint"] = endpoint
        client["allow_http"] = endpoint.startswith("http://")
    store = S3Store(
        bucket,
        prefix=prefix or None,
        config=_with_keys(config, settings),
        client_options=client,
        retry_config=RETRIES,
        credential_provider=_profile(settings),
    )
    where = f"s3://{bucket}/{prefix}".rstrip("/") + (f" at {redacted(endpoint)}" if endpoint else "")
    return Backend(store, where)


def _with_keys(config: "S3Config", settings: DatabaseSettings) -> "S3Config":
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    if (key is None) is not (secret is None):
        raise SettingsError(
            "PYRAMIDION_S3_ACCESS_KEY_ID and PYRAMIDION_S3_SECRET_ACCESS_KEY go together; only one is set"
        )
    if key is not None and secret is not None:
        config["access_key_id"] = key.get_secret_value()
        config["secret_access_key"] = secret.get_secret_value()
    return config


def _profile(settings: DatabaseSettings) -> "S3CredentialProvider | None":
    # obstore itself reads AWS_* keys, web identities and instance roles; profiles and SSO only boto3 knows.
    if settings.s3_access_key_id is not None or "AWS_PROFILE" not in os.environ:
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise SettingsError(
            f"AWS_PROFILE needs boto3, which can't be imported ({error}): pip install 'pyramidion[s3]'"
        ) from None
    return Boto3CredentialProvider()

"""Make the bucket for images unless it is there: `python create_bucket.py NAME`.

Runs with the store's administrator key, which no other service is given. Reads S3_ENDPOINT, and the keys
from the files that S3_ACCESS_KEY_ID_FILE and S3_SECRET_ACCESS_KEY_FILE name.
"""

import os
import sys
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError


def create(name: str) -> str:
    s3 = boto3.client(
        "s3",
        endpoint_url=os.environ["S3_ENDPOINT"],
        region_name="us-east-1",
        aws_access_key_id=_secret("S3_ACCESS_KEY_ID_FILE"),
        aws_secret_access_key=_secret("S3_SECRET_ACCESS_KEY_FILE"),
        config=Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 5}, proxies={}),
    )
    try:
        s3.create_bucket(Bucket=name)
    except s3.exceptions.BucketAlreadyOwnedByYou:
        return f"bucket {name} is there"
    return f"made bucket {name}"


def _secret(variable: str) -> str:
    return Path(os.environ[variable]).read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    try:
        print(create(sys.argv[1]))  # noqa: T201
    except (BotoCoreError, ClientError) as error:
        raise SystemExit(f"cannot make bucket {sys.argv[1]}: {error}") from None

"""Flower's settings; tornado reads this file and takes the names below for its own options.

The name and password come from a file, so that they stand neither on a command line nor in the
environment. Flower without a password would show the plant to everyone, hence it does not start then.
"""

import os
from pathlib import Path


def _credentials() -> list[str]:
    named = os.environ.get("FLOWER_BASIC_AUTH_FILE")
    if not named:
        raise SystemExit("FLOWER_BASIC_AUTH_FILE is not set: name a file that holds one line, name:password")
    try:
        lines = Path(named).read_text(encoding="utf-8").split()
    except OSError as error:
        # Flower takes a missing file for a missing configuration and would start without a password.
        raise SystemExit(f"FLOWER_BASIC_AUTH_FILE: cannot read {named}: {error.strerror}") from None
    if not lines or not all(name and password for name, _, password in (one.partition(":") for one in lines)):
        raise SystemExit(f"FLOWER_BASIC_AUTH_FILE: {named} must hold lines of the form name:password")
    return lines


basic_auth = _credentials()
# Looking on is what a plant needs; workers are stopped and scaled by those who started them.
read_only = True

"""Reviews in words, for everybody who reads them: terminal, page and evidence say the same."""

from collections.abc import Mapping
from typing import Any


def said(review: Mapping[str, Any]) -> str:
    """Give who said what and why, and all of its signature (21 CFR 11.50 wants it where a person reads)."""
    code = f" ({review['reason_code']})" if review.get("reason_code") else ""
    reason = f": {review['reason']}" if review.get("reason") else ""
    return f"{review['verdict']} by {review['reviewer']}{code}{reason}{signed(review.get('signature'))}"


def signed(signature: Mapping[str, Any] | None) -> str:
    """Give a signature as the end of a sentence, nothing where there is none."""
    if signature is None:
        return ""
    who = f"{signature['name']} ({signature['user']})"
    return f"; signed by {who} at {signature['at']}, meaning {signature['meaning']}"

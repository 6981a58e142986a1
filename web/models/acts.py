"""Letting another model judge, as page and API do it: whoever acts names what was shown."""

from db import champions, models
from web.access import Principal
from web.acting import signature
from web.site import Site


def promote(
    site: Site,
    who: Principal,
    product: str,
    version: str,
    expected: str | None,
    why: str,
    password: str | None,
) -> None:
    """Let a version judge, unless another than `expected` (None: nobody) judges by now.

    Raises what db.champions raises, ChampionChangedError, and what web.acting.signature raises.
    """
    with site.reading() as session:
        champions.require_ready(session, product, version, site.store)

    with site.writing() as session:
        signed = signature(session, "promotion", who, password, f"approval: {why}")
        champions.promote(session, product, version, expected, who.name, why, signed)


def roll_back(site: Site, who: Principal, product: str, expected: str, why: str, password: str | None) -> str:
    """Let the champion before `expected` judge again, and give it; raises what `promote` raises."""
    with site.reading() as session:
        now, former = champions.require_former(session, product)
        if now != expected:
            raise models.ChampionChangedError(product, expected, now)
        champions.require_ready(session, product, former, site.store)
    with site.writing() as session:
        signed = signature(session, "promotion", who, password, f"approval: {why}")
        return models.roll_back(session, product, expected, who.name, why, signed)


def withdraw(site: Site, who: Principal, product: str, expected: str, why: str) -> None:
    """Let the challenger score no more; raises what db.champions.withdraw raises."""
    site.act(lambda session: champions.withdraw(session, product, expected, who.name, why))

"""Pictures of every page for docs/page.md, of the home that PYRAMIDION_HOME names.

make screenshots    (lets the ageing demo fill a home first; some minutes)
"""

import io
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import sync_playwright
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import rescorings, roles, users
from db.engine import make_engine, session_factory
from db.matching import Filter
from db.settings import DatabaseSettings
from db.tables import ModelVersion
from tests.web.browsers import launch, log_in
from tests.web.every_page import every_page
from tests.web.serving import served
from web.app import create_app
from web.settings import WebSettings

FOLDER: Final = Path(__file__).parents[2] / "docs" / "images" / "page"
SIZE: Final = (1280, 860)
COLOURS: Final = 128  # enough for a page of greys, in a third of the bytes
_CHARTS_MS: Final = 500
_PICTURES_MS: Final = 6000  # of a wall, some at each look
NAME, FIRST, PASSWORD = "ada", "given for the pictures", "chosen for the pictures"  # of a demo's home


def main() -> None:
    database = DatabaseSettings()
    sessions = session_factory(make_engine(database))
    open_account(sessions)
    ask_for_rescoring(sessions)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with ExitStack() as closing:
        address = closing.enter_context(served(create_app(WebSettings(), database)))
        browser = launch(closing.enter_context(sync_playwright()))
        closing.callback(browser.close)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(f"{address}/login")
        log_in(page, NAME, PASSWORD)
        with sessions() as session:
            pages = every_page(session)
        for one in pages:
            page.goto(address + one.address, wait_until="load")
            page.wait_for_timeout(_PICTURES_MS if one.name.startswith("live") else _CHARTS_MS)
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS)
            shot.save(FOLDER / f"{one.name}.png", optimize=True)
            sys.stdout.write(f"{one.name}.png\n")


def open_account(sessions: sessionmaker[Session]) -> None:
    """Open an account with all roles, where there is none yet."""
    with sessions.begin() as session:
        if any(user.name == NAME for user in users.everyone(session)):
            return
        users.add(session, NAME, "Ada Lovelace", FIRST, "screenshots", list(roles.ROLES))
    with sessions.begin() as session:
        users.change_password(session, NAME, FIRST, PASSWORD)


def ask_for_rescoring(sessions: sessionmaker[Session]) -> None:
    """Ask for one, which the demo has no part in: it has a page, too."""
    with sessions.begin() as session:
        version = session.scalars(select(ModelVersion).order_by(ModelVersion.created_at).limit(1)).one()
        rescorings.request(session, version.product, version.id, Filter(), None, NAME)


if __name__ == "__main__":
    main()

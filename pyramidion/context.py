"""Opens what most commands need: the migrated database and the image store."""

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from db import migrate, mounted
from db.engine import make_engine, session_factory
from db.imagestore import ImageStore, open_image_store
from db.settings import DatabaseSettings


@dataclass(frozen=True)
class Context:
    settings: DatabaseSettings
    engine: Engine
    sessions: sessionmaker[Session]
    store: ImageStore

    def require_images(self) -> None:
        """Refuse an image store that is empty though images were accepted, as db.mounted says."""
        with self.reading() as session:
            mounted.require_images(session, self.store)

    def reading(self) -> Session:
        """Open a session that takes no write lock, for as long as a listing runs."""
        return session_factory(self.engine, read_only=True)()


def open_context(*, hot: bool = False) -> Context:
    """Open database and image store; `hot` as in db.engine.make_engine.

    A single machine's SQLite file is made and migrated on the way. A shared PostgreSQL is not: its
    migration is an act of its own (`pyramidion migrate`), and without it OutdatedDatabaseError is raised.
    """
    settings = DatabaseSettings()
    engine = make_engine(settings, hot=hot)
    if engine.dialect.name == "sqlite":
        migrate.upgrade(engine)
    else:
        migrate.require_head(engine)
    return Context(settings, engine, session_factory(engine), open_image_store(settings))

"""Opens what most commands need: the migrated database and the image store."""

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from db import inspections, migrate
from db.engine import make_engine, session_factory
from db.imagestore import ImageStore, ImageStoreUnavailableError, open_image_store
from db.settings import DatabaseSettings


@dataclass(frozen=True)
class Context:
    settings: DatabaseSettings
    engine: Engine
    sessions: sessionmaker[Session]
    store: ImageStore

    def require_images(self) -> None:
        """Refuse an empty image store where images were accepted: it is a mount point without its disk.

        Who judges would find each image missing, and who captures would write where nobody will look.
        Raises ImageStoreUnavailableError.
        """
        if self.store.is_empty():
            with self.reading() as session:
                if inspections.any_accepted(session):
                    raise ImageStoreUnavailableError(
                        self.store.describe(),
                        "it is empty, though images were accepted; is its disk mounted? Those of a backup "
                        "come back with `pyramidion restore DIR --only-images`",
                    )

    def reading(self) -> Session:
        """Open a session that takes no write lock, for as long as a listing runs."""
        return session_factory(self.engine, read_only=True)()


def open_context() -> Context:
    """Open database and image store.

    A single machine's SQLite file is made and migrated on the way. A shared PostgreSQL is not: its
    migration is an act of its own (`pyramidion migrate`), and without it OutdatedDatabaseError is raised.
    """
    settings = DatabaseSettings()
    engine = make_engine(settings)
    if engine.dialect.name == "sqlite":
        migrate.upgrade(engine)
    else:
        migrate.require_head(engine)
    return Context(settings, engine, session_factory(engine), open_image_store(settings))

"""What Alembic runs: migrations in the transaction that db.migrate opened, or, from its own command line, one of ours."""

from alembic import context
from sqlalchemy import Connection

from db.engine import make_engine
from db.migrate import options
from db.settings import DatabaseSettings
from db.tables import Base


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, **options())
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = make_engine(DatabaseSettings())
    with engine.begin() as opened:
        run(opened)
    engine.dispose()

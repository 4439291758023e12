"""Applying a tier's SQL migrations through Alembic.

A tier keeps a folder `migrations/` of pairs: `0001_what_it_does.sql`, plain SQL, and `0001_what_it_does.py`, a few lines
that give it its place in the order and call `apply_sql(__file__)`. Migrations run in one transaction, one process at a
time, with a lock and a statement timeout; running them again changes nothing. There is no downgrade: restore a backup.

Belongs here: the runner. Does not belong here: any table.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from pydantic import SecretStr

from penguinmails.stack.errors import ServerError, SettingsError
from penguinmails.stack.stores import Stores

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

# Alembic and SQLAlchemy are imported where they are used: most commands migrate nothing.
LOCK_TIMEOUT = "10s"
STATEMENT_TIMEOUT = "15min"
_VERSION_TABLE = "schema_version"
_SELECT_VERSION = "SELECT version_num FROM schema_version"
_CONNECT_SECONDS = 10
_ADVISORY_LOCK = 7_364_285_190_001
"""Any number, the same for every process: only one migrates a database at a time."""
_REVISION = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)


_REMEDY_OF_UNKNOWN = "Install that version."


class SchemaState(Enum):
    """How the tables of a database stand to the migrations that this version of the platform has."""

    MISSING = "is not there yet"
    OLD = "is older than this version of the platform"
    NEWEST = "is the newest"
    UNKNOWN = "was made by a newer version of the platform"


@dataclass(frozen=True)
class Schema:
    """The tables of one tier, as `penguinmails.schemas` in pyproject.toml names them.

    Args:
        name: what people call them.
        folder: the tier's `migrations` folder.
        url_of: returns the URL of their database.
        command: what brings them up to date.
    """

    name: str
    folder: Path
    url_of: Callable[[Stores], SecretStr]
    command: str

    def state(self, stores: Stores) -> SchemaState:
        """Asks the database.

        Raises:
            ServerError: it cannot be reached.
        """
        url = self.url_of(stores).get_secret_value()
        try:
            with psycopg.connect(url, connect_timeout=_CONNECT_SECONDS) as connection:
                row = connection.execute(_SELECT_VERSION).fetchone()
        except psycopg.errors.UndefinedTable:
            row = None
        except psycopg.OperationalError as error:
            raise ServerError(
                f"database of the {self.name}",
                f"cannot be reached ({type(error).__name__})",
                "Start it (penguinmails up), or correct the PENGUINMAILS_*_URL of this tier.",
            ) from error
        if row is None:
            return SchemaState.MISSING
        *older, newest = self.revisions()
        if row[0] == newest:
            return SchemaState.NEWEST
        return SchemaState.OLD if row[0] in older else SchemaState.UNKNOWN

    def revisions(self) -> list[str]:
        """Returns all revisions in order, without importing Alembic."""
        files = sorted(self.folder.glob("[0-9]*.py"))
        return [found[1] for file in files if (found := _REVISION.search(file.read_text(encoding="utf-8")))]

    def remedy(self, state: SchemaState) -> str:
        """Returns what to do in that state; nothing where all is well."""
        if state is SchemaState.NEWEST:
            return ""
        return _REMEDY_OF_UNKNOWN if state is SchemaState.UNKNOWN else f"Run: {self.command}"

    def require(self, stores: Stores) -> None:
        """Makes sure that the tables are what this version needs.

        Raises:
            SettingsError: they are not; nothing was changed.
            ServerError: their database cannot be reached.
        """
        state = self.state(stores)
        if state is not SchemaState.NEWEST:
            raise SettingsError(f"schema of the {self.name}", state.value, self.remedy(state))


def migrate(url: SecretStr, folder: Path) -> list[str]:
    """Applies what `folder` holds and the database lacks; returns the revisions applied, in order.

    Args:
        url: PostgreSQL URL of a login that may create what the migrations create.
        folder: a tier's `migrations` folder.

    Raises:
        ServerError: the database cannot be reached, or a lock was not had in time; nothing was changed.
        SettingsError: a newer version of the platform made the database; nothing was changed.
    """
    import sqlalchemy
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    script = ScriptDirectory(str(folder), version_locations=[str(folder)])
    engine = sqlalchemy.create_engine(_sqlalchemy_url(url), poolclass=sqlalchemy.NullPool)
    applied: list[str] = []

    def steps(current: tuple[str, ...], _: MigrationContext) -> list[object]:
        found = script._upgrade_revs("heads", current)  # type: ignore[arg-type]  # what alembic's own `upgrade` calls
        applied.extend(str(step.revision.revision) for step in found)
        return list(found)

    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
            context = MigrationContext.configure(
                connection=connection, opts={"fn": steps, "version_table": _VERSION_TABLE, "script": script}
            )
            with Operations.context(context):
                context.run_migrations()
    except sqlalchemy.exc.OperationalError as error:
        raise ServerError(
            f"migrations in {folder.parent.name}",
            f"were not applied: {type(error.orig).__name__}",
            "Check that the database is reachable and that no other session holds its tables, then run again.",
        ) from error
    except (CommandError, ResolutionError) as error:
        state = SchemaState.UNKNOWN
        raise SettingsError(f"schema of {folder.parent.name}", state.value, _REMEDY_OF_UNKNOWN) from error
    finally:
        engine.dispose()
    return applied


def sql_of_all(folder: Path) -> str:
    """Returns, without a database, the SQL that builds everything in `folder` from nothing."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(folder), version_locations=[str(folder)])
    config = Config()
    output = io.StringIO()

    def steps(current: tuple[str, ...], _: MigrationContext) -> list[object]:
        return list(script._upgrade_revs("heads", current))  # type: ignore[arg-type]

    with EnvironmentContext(config, script, fn=steps, as_sql=True) as environment:
        environment.configure(
            dialect_name="postgresql", output_buffer=output, version_table=_VERSION_TABLE, literal_binds=True
        )
        with environment.begin_transaction():
            output.write(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';\n")
            output.write(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}';\n\n")
            environment.run_migrations()
    return output.getvalue()


def apply_sql(revision_file: str) -> None:
    """Runs the `.sql` file beside a migration's `.py` file; prints it when SQL is only to be written out."""
    from alembic import op

    text = Path(revision_file).with_suffix(".sql").read_text(encoding="utf-8")
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(text.strip())
        return
    connection = op.get_bind()
    # The driver itself, so that ':name' and '%' in the text stay what they are and several statements may follow.
    connection.exec_driver_sql(text.replace("%", "%%"))


def _sqlalchemy_url(url: SecretStr) -> str:
    return "postgresql+psycopg://" + url.get_secret_value().split("://", 1)[1]

"""Assets of the OLTP tier: the schema, mail taken in, and every table by its declaration, grouped by section."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
from pydantic import Field

from penguinmails.olap.marts import MARTS
from penguinmails.oltp.table_model import Section, Table
from penguinmails.oltp.tables import TABLES
from penguinmails.pipelines import metadata
from penguinmails.pipelines.reporting import collect, progress_of
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.clock import utc_now

GROUP = "oltp"
SCHEMA = dg.AssetKey(["oltp", "schema"])
LOADED_MAIL = dg.AssetKey(["oltp", "loaded_mail"])
READ_BY_OTHER_TIERS = {"email_messages", "email_message_bodies", "email_events", "email_accounts"} | {
    name for mart in MARTS for name in mart.depends_on if name in TABLES
}
"""Tables with assets of other tiers below them, which Dagster skips in a run that skips the table."""


@dg.asset(
    key=SCHEMA,
    group_name=GROUP,
    kinds={"postgres", "sql"},
    owners=metadata.OWNERS,
    description="Tables, roles, row level security and partitions, brought to the newest migration.",
)
def schema(platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
    from penguinmails.oltp.schema import migrate

    applied = migrate(platform.stores)
    return dg.MaterializeResult(metadata={"migrations_applied": len(applied), "tables": len(TABLES)})


class Mail(dg.Config):
    """Which mail to load."""

    path: str | None = Field(
        default=None,
        description="mbox, maildir, folder or tar(.gz) of RFC 822 files, or one .eml; empty: the synthetic set.",
    )
    messages: int = Field(default=2_000, gt=0, description="Size of the synthetic set, roughly.")
    seed: int = Field(default=1, description="Seed of the synthetic set: the same seed gives the same mail.")


@dg.asset(
    key=LOADED_MAIL,
    deps=[SCHEMA],
    group_name=GROUP,
    kinds={"postgres", "email"},
    owners=metadata.OWNERS,
    description="Mail loaded into the demo tenant. Every item is either loaded or set aside with a reason; loading the "
    "same source again changes nothing. In production the application writes these tables itself.",
)
def loaded_mail(
    context: dg.AssetExecutionContext, config: Mail, platform: dg.ResourceParam[Platform]
) -> dg.MaterializeResult[None]:
    from penguinmails.oltp.intake import load_mail
    from penguinmails.oltp.mail_items import MailSource
    from penguinmails.oltp.mail_sources import open_mail
    from penguinmails.oltp.synthetic import synthetic_source

    if config.path:
        source: MailSource = open_mail(Path(config.path))
    else:
        source = synthetic_source(seed=config.seed, messages=config.messages)
    with progress_of("messages loaded", context.log) as progress:
        report = load_mail(platform.stores, source, clock=utc_now, progress=progress)
    collect("intake", report)
    return dg.MaterializeResult(metadata=metadata.of_report(report))


def _spec(table: Table) -> dg.AssetSpec:
    columns = [
        dg.TableColumn(
            column.name,
            column.type,
            column.comment,
            dg.TableColumnConstraints(nullable=not column.required, unique=table.primary_key == (column.name,)),
            tags={"personal_data": column.personal.value},
        )
        for column in table.columns
    ]
    filled_by_intake = [LOADED_MAIL] if table.section is Section.MESSAGING else [SCHEMA]
    return dg.AssetSpec(
        ["oltp", table.name],
        group_name=f"{GROUP}_{table.section}",
        kinds={"postgres", "table"},
        owners=metadata.OWNERS,
        description=f"{table.meaning}\n\nRows are isolated by {table.isolation}.",
        tags={"section": table.section.value, "isolation": table.isolation.value},
        skippable=table.name not in READ_BY_OTHER_TIERS,
        deps=[*filled_by_intake, *(["oltp", name] for name in table.references if name != table.name)],
        metadata={
            "dagster/table_name": f"public.{table.name}",
            "dagster/column_schema": dg.TableSchema(columns=columns),
        },
    )


@dg.multi_asset(name="oltp_tables", specs=[_spec(table) for table in TABLES.values()], can_subset=True)
def tables(
    context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
) -> Iterator[dg.MaterializeResult[None]]:
    """Observes the tables: the application fills them; here they are counted, sized and looked at.

    A table whose figures are those of the last time is not written down again, unless assets of other tiers wait for it.
    """
    from penguinmails.oltp.statistics import table_statistics

    last = _last_figures(context)
    for seen in table_statistics(platform.stores):
        key = dg.AssetKey(["oltp", seen.table])
        if key not in context.selected_asset_keys:
            continue
        figures = {"dagster/row_count": dg.MetadataValue.int(seen.rows)} | metadata.of_report(seen)
        if seen.table in READ_BY_OTHER_TIERS or last.get(key) != figures:
            yield dg.MaterializeResult(asset_key=key, metadata=figures)


def _last_figures(context: dg.AssetExecutionContext) -> dict[dg.AssetKey, Mapping[str, dg.MetadataValue]]:
    records = context.instance.get_asset_records(list(context.selected_asset_keys))
    return {
        record.asset_entry.asset_key: record.asset_entry.last_materialization.asset_materialization.metadata
        for record in records
        if record.asset_entry.last_materialization and record.asset_entry.last_materialization.asset_materialization
    }


ASSETS = [schema, loaded_mail, tables]

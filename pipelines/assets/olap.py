"""Assets of the OLAP tier: daily facts kept up by signed differences, and the marts published from them."""

import base64
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
from pydantic import Field

from penguinmails.olap.declarations import Kind, Mart
from penguinmails.olap.marts import MARTS
from penguinmails.oltp.tables import TABLES
from penguinmails.pipelines import metadata
from penguinmails.pipelines.instance import MARTS_POOL
from penguinmails.pipelines.partitions import DAILY, days_of
from penguinmails.pipelines.reporting import collect, progress_of
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.clock import utc_now

GROUP = "olap"
BACKFILL_TAG = "dagster/backfill"
"""Dagster gives it to every run of a backfill."""
LANDING = dg.AssetKey(["olap", "landing"])
LIVE_PATH = dg.AssetKey(["olap", "live_path"])


def _key(name: str) -> dg.AssetKey:
    """Returns the asset of a mart, or of the OLTP table a mart is made from."""
    return dg.AssetKey(["oltp" if name in TABLES else "olap", name])


def _spec(mart: Mart) -> dg.AssetSpec:
    columns = [
        dg.TableColumn(column.name, column.type, column.comment, dg.TableColumnConstraints(nullable=column.nullable))
        for column in mart.columns
    ]
    return dg.AssetSpec(
        _key(mart.name),
        group_name=GROUP,
        kinds={"duckdb", "view" if mart.kind is Kind.VIEW else "table"},
        owners=metadata.OWNERS,
        description=f"{mart.description}\n\nOne row: {mart.grain}.",
        deps=[LANDING, *(_key(name) for name in mart.depends_on)]
        if mart.kind is Kind.FACT
        else [_key(name) for name in mart.depends_on],
        partitions_def=DAILY if mart.kind is Kind.FACT else None,
        metadata={"dagster/table_name": mart.name, "dagster/column_schema": dg.TableSchema(columns=columns)},
    )


FACTS = [_spec(mart) for mart in MARTS if mart.kind is Kind.FACT]
PUBLISHED = [_spec(mart) for mart in MARTS if mart.kind is not Kind.FACT]
_LANDING_SPEC = dg.AssetSpec(
    LANDING,
    group_name=GROUP,
    kinds={"parquet", "s3"},
    owners=metadata.OWNERS,
    description="What was new in the operational database, as immutable Parquet batches in the object store: the "
    "replay log from which every fact can be made again, on DuckDB or on a distributed engine.",
    deps=[["oltp", "email_events"], ["oltp", "email_messages"]],
    partitions_def=DAILY,
)


live_path = dg.AssetSpec(
    LIVE_PATH,
    group_name=GROUP,
    kinds={"duckdb"},
    owners=metadata.OWNERS,
    description="'penguinmails marts follow', which keeps the published marts within seconds of the database. It runs outside "
    "Dagster; a sensor plots its lag here.",
    deps=[["oltp", "email_events"], ["oltp", "email_messages"]],
)


class DayReading(dg.Config):
    """Whether the events of the run's days are read again."""

    read_again: bool = Field(
        default=False,
        description="Read the events of these days again and whole, so that what was deleted in the operational database "
        "leaves the facts. A backfill always does.",
    )


@dg.multi_asset(
    name="olap_facts", specs=[_LANDING_SPEC, *FACTS], backfill_policy=dg.BackfillPolicy.single_run(), pool=MARTS_POOL
)
def facts(
    context: dg.AssetExecutionContext, config: DayReading, platform: dg.ResourceParam[Platform]
) -> Iterator[dg.MaterializeResult[None]]:
    """Brings everything committed so far into the facts; whatever day is asked for, late rows reach theirs too."""
    from penguinmails.olap.extraction import Days
    from penguinmails.olap.roll_up import roll_up

    days = None
    if config.read_again or BACKFILL_TAG in context.run.tags:
        first, last = days_of(context)
        days = Days(first, last + timedelta(days=1))
    with progress_of("rows extracted", context.log) as progress:
        report = roll_up(platform.stores, clock=utc_now, progress=progress, days=days)
    collect("roll_up", report)
    for spec in (_LANDING_SPEC, *FACTS):
        yield dg.MaterializeResult(asset_key=spec.key, metadata=metadata.of_report(report))


@dg.multi_asset(name="olap_marts", specs=PUBLISHED, pool=MARTS_POOL)
def marts(platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
    """Reconciles with the operational database, then publishes all marts by one rename; readers are never blocked."""
    from penguinmails.olap.publishing import publish
    from penguinmails.olap.reading import open_marts

    report = publish(platform.stores, clock=utc_now)
    collect("publish", report)
    with open_marts(platform.stores) as readable:
        for spec in PUBLISHED:
            name = spec.key.path[-1]
            found = readable.sql(f"SELECT COUNT(*) FROM {name}").fetchall()  # noqa: S608 - a declared name
            yield dg.MaterializeResult(
                asset_key=spec.key, metadata={"dagster/row_count": int(found[0][0])} | metadata.of_report(report)
            )


@dg.asset(
    key=["olap", "report"],
    deps=[spec.key for spec in PUBLISHED],
    group_name=GROUP,
    kinds={"html", "duckdb"},
    owners=metadata.OWNERS,
    description="The report for executives and deliverability: one self-contained HTML file with charts.",
)
def report(platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
    from penguinmails.olap.report import write_report

    folder = platform.stores.home / "reports"
    folder.mkdir(exist_ok=True)
    path = folder / "deliverability.html"
    made = write_report(platform.stores, path, clock=utc_now)
    picture = base64.b64encode(made.volume_chart.encode()).decode()
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(path),
            "as_of": made.as_of.isoformat(),
            "size_bytes": path.stat().st_size,
            "messages_a_day": dg.MetadataValue.md(f"![Messages a day](data:image/svg+xml;base64,{picture})"),
        }
    )


ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [facts, marts, report, live_path]

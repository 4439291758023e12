"""Assets of the OLAP tier: daily facts kept up by signed differences, and the marts published from them."""

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

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
REPORT = dg.AssetKey(["olap", "report"])
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=27), warn_window=timedelta(hours=25))
"""The daily run, and an hour or three."""
_EXTRACTED = sorted({name for mart in MARTS for name in mart.depends_on if name in TABLES})


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
        freshness_policy=FRESHNESS,
        metadata={
            "dagster/table_name": mart.name,
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "grain": mart.grain,
            "select": dg.MetadataValue.md(f"```sql\n{mart.sql}\n```"),
        },
    )


def _lineage(name: str) -> dict[str, Any]:
    """Returns which columns every column of a mart is made from; an event of a run, as Dagster wants it."""
    from penguinmails.olap.lineage import column_lineage

    deps = {
        column: [dg.TableColumnDep(_key(source.table), source.column) for source in sources]
        for column, sources in column_lineage()[name].items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)}


def _lag(as_of: datetime) -> dict[str, Any]:
    return {"lag_seconds": round((utc_now() - as_of).total_seconds(), 3)}


FACTS = [_spec(mart) for mart in MARTS if mart.kind is Kind.FACT]
PUBLISHED = [_spec(mart) for mart in MARTS if mart.kind is not Kind.FACT]
_LANDING_SPEC = dg.AssetSpec(
    LANDING,
    group_name=GROUP,
    kinds={"parquet", "s3"},
    owners=metadata.OWNERS,
    description="What was new in the operational database, as immutable Parquet batches in the object store: the "
    "replay log from which every fact can be made again, on DuckDB or on a distributed engine.",
    deps=[["oltp", name] for name in _EXTRACTED],
    partitions_def=DAILY,
    freshness_policy=FRESHNESS,
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
    figures = metadata.of_report(report) | _lag(report.as_of)
    yield dg.MaterializeResult(asset_key=LANDING, metadata={"dagster/row_count": report.rows_extracted} | figures)
    for spec in FACTS:
        name = spec.key.path[-1]
        rows = {"dagster/row_count": report.fact_rows[name]}
        yield dg.MaterializeResult(asset_key=spec.key, metadata=rows | figures | _lineage(name))


@dg.multi_asset(name="olap_marts", specs=PUBLISHED, pool=MARTS_POOL)
def marts(platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
    """Reconciles with the operational database, then publishes all marts by one rename; readers are never blocked."""
    from penguinmails.olap.publishing import publish
    from penguinmails.olap.reading import open_marts

    report = publish(platform.stores, clock=utc_now)
    collect("publish", report)
    figures = metadata.of_report(report) | _lag(report.as_of)
    with open_marts(platform.stores) as readable:
        rows = dict(readable.execute("SELECT mart, rows FROM _marts").fetchall())
    for spec in PUBLISHED:
        name = spec.key.path[-1]
        counted = {"dagster/row_count": rows[name]}
        yield dg.MaterializeResult(asset_key=spec.key, metadata=counted | figures | _lineage(name))


@dg.asset(
    key=REPORT,
    deps=[spec.key for spec in PUBLISHED],
    group_name=GROUP,
    kinds={"html", "duckdb"},
    owners=metadata.OWNERS,
    freshness_policy=FRESHNESS,
    description="The report on volume, deliverability, engagement, cost and retention: one HTML file with charts that needs "
    "nothing but a browser.",
)
def report(platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
    from penguinmails.olap.report import write_report

    folder = platform.stores.home / "reports"
    folder.mkdir(exist_ok=True)
    path = folder / "report.html"
    made = write_report(platform.stores, path, clock=utc_now)
    picture = base64.b64encode(made.picture.encode()).decode()
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(path),
            "as_of": made.as_of.isoformat(),
            "size_bytes": path.stat().st_size,
            **_lag(made.as_of),
            "messages_a_day": dg.MetadataValue.md(f"![Messages a day](data:image/svg+xml;base64,{picture})"),
        }
    )


ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [facts, marts, report, live_path]

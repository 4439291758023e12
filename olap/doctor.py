"""What `penguinmails doctor` asks this tier. Belongs here: looking, never mending."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime

import duckdb

from penguinmails.olap.errors import NothingPublished, SourceUnavailable
from penguinmails.olap.extraction import open_extraction
from penguinmails.olap.statistics import age_seconds, published_state
from penguinmails.stack.console import size
from penguinmails.stack.errors import PlatformError
from penguinmails.stack.findings import Finding
from penguinmails.stack.stores import Stores

LEAST_FREE_BYTES = 1 << 30
STALE_SECONDS = 26 * 3600.0
"""A daily roll-up and two hours."""


def examine(stores: Stores) -> list[Finding]:
    """Looks at the operational database as the marts read it, the folder of the marts, and what is published."""
    return [_source(stores), _folder(stores), _published(stores)]


def _source(stores: Stores) -> Finding:
    name = "marts: operational database"
    try:
        with open_extraction(stores.oltp_url) as extraction:
            return Finding(name, ok=True, detail=f"readable as pm_reader, timeline {extraction.mark.timeline}")
    except SourceUnavailable as error:
        return Finding(name, ok=False, detail=error.problem, remedy="Run 'penguinmails oltp migrate'.")
    except PlatformError as error:
        return Finding(name, ok=True, detail=f"{error.thing} {error.problem}")


def _folder(stores: Stores) -> Finding:
    name = "marts: folder"
    folder = stores.marts_folder if stores.marts_folder.exists() else stores.home
    free = shutil.disk_usage(folder).free
    detail = f"DuckDB {duckdb.__version__}, {size(free)} free"
    if not os.access(folder, os.W_OK):
        return Finding(name, ok=False, detail=f"{folder} is not writable", remedy="Give this user the right to write.")
    if free < LEAST_FREE_BYTES:
        return Finding(name, ok=False, detail=detail, remedy="Make room: a publication needs the size of the marts.")
    return Finding(name, ok=True, detail=detail)


def _published(stores: Stores) -> Finding:
    name = "marts: published"
    try:
        state = published_state(stores)
    except NothingPublished:
        return Finding(name, ok=True, detail="nothing yet; 'penguinmails run' publishes")
    age = age_seconds(state, datetime.now(UTC))
    detail = f"number {state.number}, {len(state.marts)} marts, complete up to {age:,.0f} s ago"
    if age > STALE_SECONDS:
        return Finding(name, ok=False, detail=detail, remedy="Run 'penguinmails marts roll-up', then '… publish'.")
    return Finding(name, ok=True, detail=detail)

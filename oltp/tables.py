"""All tables of the OLTP tier: the one place that Dagster, documentation and checks take columns and meanings from.

Belongs here: the whole of the declarations, in order of creation. Does not belong here: DDL (migrations/); that the live
database equals these declarations is checked by schema.differences().
"""

from __future__ import annotations

from types import MappingProxyType

from penguinmails.oltp import (
    tables_billing,
    tables_business_logic,
    tables_campaigns,
    tables_infrastructure,
    tables_messaging,
    tables_multi_tenant_core,
)
from penguinmails.oltp.table_model import Column, Isolation, PersonalData, Section, Table

__all__ = ["TABLES", "Column", "Isolation", "PersonalData", "Section", "Table"]

TABLES = MappingProxyType(
    {
        table.name: table
        for section in (
            tables_multi_tenant_core,
            tables_business_logic,
            tables_campaigns,
            tables_billing,
            tables_infrastructure,
            tables_messaging,
        )
        for table in section.SECTION_TABLES
    }
)
"""Every table by its name, in order of creation."""

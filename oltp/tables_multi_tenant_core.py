"""Declarations of the section multi_tenant_core: what each table and column means.

The DDL is in migrations/0002_multi_tenant_core.sql; schema.differences() compares the two.
"""

from __future__ import annotations

from penguinmails.oltp.table_model import CREATED, TENANT_ID, UPDATED, Column, Isolation, PersonalData, Section, Table

USERS = Table(
    "users",
    section=Section.MULTI_TENANT_CORE,
    meaning="A person who signs in; the same in every tenant.",
    isolation=Isolation.USER,
    tenant_key=None,
    primary_key=("id",),
    columns=(
        Column("id", "uuid", "Identity of the user, the same in every tenant.", required=True),
        CREATED,
        UPDATED,
        Column(
            "deleted",
            "timestamptz",
            "When the user was removed; such users are invisible to the application.",
        ),
        Column("name", "text", "Display name.", personal=PersonalData.NAME),
        Column("family_name", "text", "Family name.", personal=PersonalData.NAME),
        Column("given_name", "text", "Given name.", personal=PersonalData.NAME),
        Column("email", "text", "Address the user signs in with, lower case.", personal=PersonalData.CONTACT),
        Column("picture", "text", "Address of the user's picture.", personal=PersonalData.NAME),
        Column("email_verified", "timestamptz", "When the address was verified."),
    ),
)

TENANTS = Table(
    "tenants",
    section=Section.MULTI_TENANT_CORE,
    meaning="An agency or company that uses the platform.",
    isolation=Isolation.TENANT,
    tenant_key="id",
    primary_key=("id",),
    columns=(
        Column("id", "uuid", "Identity of the tenant: the first part of every key below it.", required=True),
        Column("name", "text", "Name of the agency or company."),
        CREATED,
        UPDATED,
        Column("deleted", "timestamptz", "When the tenant was closed."),
        Column("compute_id", "uuid", "Nile's compute unit that serves the tenant."),
    ),
)

TENANT_USERS = Table(
    "tenant_users",
    section=Section.MULTI_TENANT_CORE,
    meaning="A user's membership of a tenant, with roles.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "user_id"),
    references=("tenants", "users"),
    columns=(
        TENANT_ID,
        Column("user_id", "uuid", "Member.", required=True),
        CREATED,
        UPDATED,
        Column("deleted", "timestamptz", "When the membership ended; joining again clears it."),
        Column("roles", "text[]", "Any of owner, admin, member, readonly.", required=True),
        Column("email", "text", "Address of the member in this tenant, lower case.", personal=PersonalData.CONTACT),
    ),
)

SECTION_TABLES = (
    USERS,
    TENANTS,
    TENANT_USERS,
)

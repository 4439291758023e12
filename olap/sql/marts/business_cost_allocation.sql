-- What the servers and addresses cost that a tenant's domains send from, a month. A server's cost is shared equally by its
-- addresses that are in use, an address's cost (its own and its share of the server) equally by the domains assigned to it.
-- What no domain uses is allocated to nobody. docs/marts.md works an example by hand.
WITH assignments AS (
    SELECT DISTINCT
        tenant_id,
        domain_id,
        smtp_ip_address_id
    FROM domain_ip_assignments
    WHERE status IN ('active', 'warming')
),

shares AS (
    SELECT
        smtp_ip_address_id,
        COUNT(*) AS domains
    FROM assignments
    GROUP BY smtp_ip_address_id
),

addresses AS (
    SELECT
        address.smtp_ip_address_id,
        CAST(address.approximate_cost AS DOUBLE) AS ip_cost,
        COALESCE(CAST(server.approximate_cost AS DOUBLE), 0)
        / COUNT(*) OVER (PARTITION BY address.vps_instance_id) AS vps_cost,
        shares.domains
    FROM shares
    JOIN smtp_ip_addresses AS address
        ON shares.smtp_ip_address_id = address.smtp_ip_address_id
    JOIN vps_instances AS server
        ON address.vps_instance_id = server.vps_instance_id
),

costs AS (
    SELECT
        assignments.tenant_id,
        COUNT(DISTINCT assignments.domain_id) AS domains_assigned,
        COUNT(DISTINCT assignments.smtp_ip_address_id) AS ip_addresses_used,
        SUM(addresses.vps_cost / addresses.domains) AS vps_cost,
        SUM(addresses.ip_cost / addresses.domains) AS ip_cost
    FROM assignments
    JOIN addresses
        ON assignments.smtp_ip_address_id = addresses.smtp_ip_address_id
    GROUP BY assignments.tenant_id
)

SELECT
    tenant.tenant_id,
    COALESCE(costs.domains_assigned, 0) AS domains_assigned,
    COALESCE(costs.ip_addresses_used, 0) AS ip_addresses_used,
    CAST(COALESCE(costs.vps_cost, 0) AS DECIMAL(18, 4)) AS vps_cost,
    CAST(COALESCE(costs.ip_cost, 0) AS DECIMAL(18, 4)) AS ip_cost,
    CAST(COALESCE(costs.vps_cost, 0) + COALESCE(costs.ip_cost, 0) AS DECIMAL(18, 4)) AS infrastructure_cost,
    position.as_of AS updated
FROM tenants AS tenant
CROSS JOIN position
LEFT JOIN costs
    ON tenant.tenant_id = costs.tenant_id

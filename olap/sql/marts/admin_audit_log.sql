-- High-risk administrative actions, one row each, as the operational database recorded them.
SELECT
    audit_event_id AS id,
    occurred_at AS creation_time,
    actor_user_id AS admin_user_id,
    action,
    resource_type,
    resource_id,
    tenant_id,
    old_values,
    new_values,
    ip_address,
    user_agent,
    notes,
    metadata,
    data_classification,
    retention_category
FROM admin_audit_events

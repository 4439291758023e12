-- Mail that arrives.

-- name: workspace_of_mailbox
-- The workspace a mailbox belongs to.
SELECT domains.company_id
FROM email_accounts
JOIN domains
    ON domains.tenant_id = email_accounts.tenant_id
    AND domains.id = email_accounts.domain_id
WHERE email_accounts.tenant_id = %(tenant_id)s
  AND email_accounts.id = %(email_account_id)s;

-- name: is_taken_in
SELECT EXISTS (
    SELECT FROM mail_intake
    WHERE tenant_id = %(tenant_id)s
      AND source_name = %(source_name)s
      AND item_name = %(item_name)s
);

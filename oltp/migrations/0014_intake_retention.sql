-- The ledger of mail taken in is written in order of time: a few pages of index find what is older than its policy.

SET LOCAL ROLE pm_owner;

CREATE INDEX mail_intake_created_index ON mail_intake USING brin (created);

RESET ROLE;

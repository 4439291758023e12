-- What staff ask of the whole platform: how many tenants and users there are, and who came last.

SET LOCAL ROLE pm_owner;

CREATE INDEX tenants_live_index ON tenants (created DESC, id DESC) WHERE deleted IS NULL;

CREATE INDEX users_live_index ON users (created DESC, id DESC) WHERE deleted IS NULL;

RESET ROLE;

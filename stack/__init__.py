"""The ground every tier stands on.

Belongs here: the one typed settings object, the embedded servers for a machine that has none, the plumbing that all
tiers share (errors, SQL files, migrations, the S3 client, ports between tiers), `doctor` and the `penguinmails` command.
Does not belong here: anything about mail, marts or jobs. This package imports no other package of the project; tiers
reach the command line and one another through the entry points declared in pyproject.toml.
"""

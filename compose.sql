-- The databases and logins of the tiers, as the embedded server makes them (stack/embedded_postgres.py).
CREATE ROLE penguinmails_oltp LOGIN CREATEROLE BYPASSRLS PASSWORD 'penguinmails-local';
CREATE ROLE penguinmails_app LOGIN PASSWORD 'penguinmails-local';
CREATE ROLE penguinmails_content LOGIN PASSWORD 'penguinmails-local';
CREATE ROLE penguinmails_queue LOGIN PASSWORD 'penguinmails-local';
CREATE ROLE penguinmails_dagster LOGIN PASSWORD 'penguinmails-local';
CREATE DATABASE oltp OWNER penguinmails_oltp;
CREATE DATABASE content OWNER penguinmails_content;
CREATE DATABASE queue OWNER penguinmails_queue;
CREATE DATABASE dagster OWNER penguinmails_dagster;
REVOKE ALL ON DATABASE oltp, content, queue, dagster FROM PUBLIC;
GRANT CONNECT ON DATABASE oltp TO penguinmails_app;

-- The role that KEDA asks with: two connections, and one question. Run it as the owner of the schema, with a password of yours:
--   psql "$DATABASE_URL" -v password="'change-me'" -f role.sql
create role sluice_keda login connection limit 2 password :password;
-- The function reads as its owner, so the role needs no right to any table. It is found in the schema that Sluice is in.
select format('grant usage on schema %I to sluice_keda', current_schema()) \gexec
select format('alter role sluice_keda in database %I set search_path = %I', current_database(), current_schema()) \gexec
grant execute on function runnable_backlog() to sluice_keda;

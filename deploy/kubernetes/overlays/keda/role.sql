-- The role that KEDA asks with: two connections, and one question. Run it as the owner of the schema, with a password of yours:
--   psql "$DATABASE_URL" -v password="'change-me'" -f role.sql
create role sluice_keda login connection limit 2 password :password;
-- The function reads as its owner, in the schema that it was made in, so the role needs no right to any table.
alter function runnable_backlog() security definer;
grant execute on function runnable_backlog() to sluice_keda;

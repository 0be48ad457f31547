/**
 * The role the service runs as. It reads and writes rows but makes no tables, and of some tables (the audit log) it may
 * only add rows. Where the owner may not make roles the service runs as the owner; `prime doctor` says so.
 * The role belongs to the whole cluster, so `down` leaves it.
 */
export const up = `
do $$
declare
  queue_table text;
begin
  begin
    if not exists (select from pg_roles where rolname = 'prime_app') then
      create role prime_app nologin;
    end if;
  exception
    when duplicate_object or unique_violation then null;
    when insufficient_privilege then return;
  end;
  begin
    if not pg_has_role(current_user, 'prime_app', 'member') then
      execute format('grant prime_app to %I', current_user);
    end if;
  exception when insufficient_privilege or unique_violation then null;
  end;
  grant usage on schema public, graphile_worker to prime_app;
  grant select, insert, update, delete on all tables in schema graphile_worker to prime_app;
  grant usage, select, update on all sequences in schema graphile_worker to prime_app;
  grant execute on all functions in schema graphile_worker to prime_app;
  -- The queue guards its tables by row security, which passes the owner only.
  for queue_table in select c.oid::regclass from pg_class c
    where c.relnamespace = 'graphile_worker'::regnamespace and c.relkind = 'r' and c.relrowsecurity loop
    execute format('drop policy if exists prime_app_all on %s', queue_table);
    execute format('create policy prime_app_all on %s to prime_app using (true) with check (true)', queue_table);
  end loop;
  alter default privileges in schema public grant select, insert, update, delete on tables to prime_app;
  alter default privileges in schema public grant usage, select on sequences to prime_app;
end $$`

export const down = `
do $$
begin
  if exists (select from pg_roles where rolname = 'prime_app') then
    alter default privileges in schema public revoke all on tables from prime_app;
    alter default privileges in schema public revoke all on sequences from prime_app;
  end if;
end $$`

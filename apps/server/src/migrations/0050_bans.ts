export const up = `
create table bans (
  network cidr primary key,
  id uuid not null unique,
  reason text not null check (length(reason) between 1 and 200),
  kind text not null check (kind in ('manual', 'automatic')),
  strikes integer not null default 1 check (strikes > 0),
  created_by uuid,
  created_at timestamptz not null default clock_timestamp(),
  until timestamptz not null
);
comment on table bans is 'Addresses that are refused until a time. A row is kept for a week after its end, so that repeat offenders are known; then it goes.';
comment on column bans.network is 'Personal (an address): the only place where one is kept readable.';
comment on column bans.strikes is 'How often this block was banned; each time twice as long.';
create index bans_until on bans (until);
create index bans_within on bans using gist (network inet_ops);

create function tell_ban() returns trigger language plpgsql as $$
begin
  -- Block, milliseconds, kind. Time left instead of a point in time: instances whose clocks differ end it together.
  if tg_op = 'DELETE' then
    perform pg_notify('bans', old.network || ' 0 ' || old.kind);
  else
    perform pg_notify('bans', new.network || ' ' || greatest(0, ceil(extract(epoch from new.until - clock_timestamp()) * 1000)) || ' ' || new.kind);
  end if;
  return null;
end $$;
create trigger bans_told after insert or update or delete on bans for each row execute function tell_ban()`

export const down = `
drop table bans;
drop function tell_ban()`

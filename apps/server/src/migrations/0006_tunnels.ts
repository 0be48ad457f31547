export const up = `
create table wireguard_keys (
  public_key text primary key check (length(public_key) = 44),
  user_id uuid not null references users on delete cascade,
  created_at timestamptz not null default clock_timestamp()
);
comment on table wireguard_keys is 'Who first brought a key. One key never serves two accounts.';
create index wireguard_keys_of_user on wireguard_keys (user_id);

create table devices (
  id uuid primary key,
  user_id uuid not null references users on delete cascade,
  slot smallint not null check (slot >= 0),
  name text not null check (length(name) between 1 and 100),
  platform text not null check (length(platform) between 1 and 40),
  public_key text unique references wireguard_keys,
  last_connected_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint devices_one_per_slot unique (user_id, slot)
);

create table unsettled_keys (
  device_id uuid primary key references devices on delete cascade,
  previous_key text,
  previous_changed_at timestamptz,
  generated boolean not null default false,
  changed_at timestamptz not null default clock_timestamp(),
  rekeyed uuid,
  rekeyed_psk bytea
);
comment on table unsettled_keys is
  'Devices whose present key nobody has been told of as good: what they go back to when no server takes it. The first '
  'unsettled change says so, those that follow it before it is settled keep that.';
comment on column unsettled_keys.generated is 'The key was made here, so that nobody can use it before its answer.';
comment on column unsettled_keys.changed_at is 'When the present key came: whoever waits for its answer has given up by a known time.';
comment on column unsettled_keys.rekeyed is
  'The tunnel that had the previous key and passed on to a new one; rekeyed_psk was its pre-shared key, sealed.';

create table connections (
  id uuid primary key,
  user_id uuid not null references users on delete cascade,
  server_id uuid references vpn_servers on delete set null,
  device_id uuid references devices on delete set null,
  user_slot smallint check (user_slot >= 0),
  client_ip inet not null,
  client_ipv6 inet,
  client_public_key text not null,
  lease_slot integer not null,
  lease_version bigint not null,
  status text not null default 'connected' check (status in ('connected', 'disconnected')),
  kept_at timestamptz,
  superseded_by uuid,
  superseded_at timestamptz,
  superseded_until timestamptz,
  leaving_at timestamptz,
  end_reason text,
  bytes_sent bigint not null default 0 check (bytes_sent >= 0),
  bytes_received bigint not null default 0 check (bytes_received >= 0),
  counter_epoch bigint not null default 0,
  base_sent bigint not null default 0,
  base_received bigint not null default 0,
  peak_bytes_per_second bigint not null default 0,
  reported_at timestamptz,
  last_handshake_at timestamptz,
  totals_final boolean not null default false,
  client_bytes_sent bigint,
  client_bytes_received bigint,
  started_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint connections_end check ((status = 'disconnected') = (ended_at is not null)),
  constraint connections_superseded_whole check
    ((superseded_at is null) = (superseded_until is null) and (superseded_at is null) = (superseded_by is null)),
  constraint connections_counted check (status = 'disconnected' or (superseded_at is null) = (user_slot is not null))
) with (fillfactor = 85);
create unique index connections_one_per_user_slot on connections (user_id, user_slot) where status = 'connected';
create index connections_of_user on connections (user_id, started_at);
create index connections_of_device on connections (device_id) where status = 'connected' and device_id is not null;
create index connections_superseded on connections (superseded_until)
  where status = 'connected' and superseded_at is not null;
create index connections_leaving on connections (leaving_at) where leaving_at is not null;
create index connections_ended on connections (ended_at) where ended_at is not null;
comment on column connections.client_ip is 'The address inside the tunnel, never the customer''s own.';
comment on column connections.user_slot is 'A place of those the plan allows; none while a newer tunnel counts in its stead.';
comment on column connections.kept_at is
  'When another call than the one that made this tunnel last answered with it; such a one is no longer a lone claim.';
comment on column connections.superseded_until is 'A tunnel that was moved away from keeps its peer until the new one''s first handshake, or until then.';
comment on column connections.leaving_at is 'Ended, but its peer goes at this moment: the answer travels through this very tunnel.';

create table leases (
  server_id uuid not null references vpn_servers on delete cascade,
  slot integer not null check (slot between 2 and 65534),
  state text not null default 'reserve' check (state in ('available', 'held', 'clearing', 'reserve')),
  connection_id uuid references connections on delete set null,
  last_connection_id uuid,
  public_key text,
  preshared_key bytea,
  free_at timestamptz not null default '-infinity',
  version bigint not null default 0,
  changed_xid xid8 not null default '0',
  primary key (server_id, slot),
  constraint leases_held_has_key check ((state = 'held') = (public_key is not null)),
  constraint leases_held_has_holder check ((state = 'held') = (connection_id is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
comment on table leases is
  'A row per address of a server. available + held = max_connections + seat_balance: these rows are the server''s room. '
  'held -> clearing (the node is told) -> reserve (it confirmed; the address rests) -> available (a seat came free).';
comment on column leases.last_connection_id is 'Whose the last version is, also after its end; the connection itself may be gone.';
create unique index leases_one_slot_per_key on leases (server_id, public_key) where public_key is not null;
create unique index leases_one_per_connection on leases (connection_id) where connection_id is not null;
create index leases_available on leases (server_id, free_at) where state = 'available';
create index leases_reserve on leases (server_id, free_at) where state = 'reserve';
create index leases_changed on leases (server_id, changed_xid);

create function leases_before_update() returns trigger language plpgsql as $$
begin
  if old.state = 'held' and new.connection_id is null then
    new.state := 'clearing';
    new.public_key := null;
    new.preshared_key := null;
  end if;
  if new.public_key is distinct from old.public_key or new.preshared_key is distinct from old.preshared_key then
    new.version := old.version + 1;
    new.changed_xid := pg_current_xact_id();
  end if;
  return new;
end $$;
comment on function leases_before_update() is
  'A lease without holder is told to the node, whoever took the holder away (an end, an erasure by cascade).';

create function promote_reserve(p_server uuid) returns boolean language plpgsql as $$
begin
  update leases set state = 'available'
   where (server_id, slot) = (
     select server_id, slot from leases
      where server_id = p_server and state = 'reserve'
      order by free_at limit 1 for update skip locked);
  return found;
end $$;
comment on function promote_reserve(uuid) is 'Turns the longest-rested spare address into a free seat; its own rest is still judged when it is taken.';

create table seat_debts (
  id bigint generated always as identity primary key,
  server_id uuid not null
);
comment on table seat_debts is
  'Seats that came free while no address was in reserve and the server''s row was locked by another: an end waits for nobody. '
  'available + held = max_connections + seat_balance - debts.';

create function leases_after_end() returns trigger language plpgsql as $$
begin
  perform pg_notify('node_changes', new.server_id::text);
  perform from vpn_servers where id = new.server_id and seat_balance > 0 for no key update skip locked;
  if not found then
    if promote_reserve(new.server_id) then return null; end if;
    perform from vpn_servers where id = new.server_id for no key update skip locked;
    if not found then
      insert into seat_debts (server_id) values (new.server_id);
      return null;
    end if;
  end if;
  update vpn_servers set seat_balance = seat_balance - 1 where id = new.server_id;
  return null;
end $$;
comment on function leases_after_end() is
  'The seat of an ended tunnel comes free: a rested spare address takes its place, or the server owes a seat.';

create function confirm_cleared(p_server uuid, p_slots integer[], p_versions bigint[]) returns integer language plpgsql as $$
declare
  cleared integer;
begin
  update leases l set state = 'reserve', free_at = clock_timestamp()
    from unnest(p_slots, p_versions) as c(slot, version)
   where l.server_id = p_server and l.slot = c.slot and l.version = c.version and l.state = 'clearing';
  get diagnostics cleared = row_count;
  perform repay_seats(p_server, cleared);
  return cleared;
end $$;
comment on function confirm_cleared(uuid, integer[], bigint[]) is
  'The node holds these peers no more: the addresses begin to rest. Only the version that was cleared counts.';

create function confirm_cleared_below(p_server uuid, p_horizon xid8) returns integer language plpgsql as $$
declare
  cleared integer;
begin
  update leases l set state = 'reserve', free_at = clock_timestamp()
   where l.server_id = p_server and l.state = 'clearing' and l.changed_xid < p_horizon;
  get diagnostics cleared = row_count;
  perform repay_seats(p_server, cleared);
  return cleared;
end $$;
comment on function confirm_cleared_below(uuid, xid8) is
  'The node has confirmed every change told below this horizon: the same as naming each removal of then.';
create index leases_clearing on leases (server_id, changed_xid) where state = 'clearing';

create function repay_seats(p_server uuid, p_spare integer) returns void language plpgsql as $$
declare
  owed integer;
begin
  if p_spare = 0 then return; end if;
  select -seat_balance into owed from vpn_servers where id = p_server and seat_balance < 0 for no key update;
  while owed > 0 and promote_reserve(p_server) loop
    update vpn_servers set seat_balance = seat_balance + 1 where id = p_server;
    owed := owed - 1;
  end loop;
end $$;
comment on function repay_seats(uuid, integer) is 'Gives back seats that came free while no address was in reserve.';

create function settle_seat_debts() returns void language plpgsql as $$
declare
  debtor uuid;
  debts integer;
begin
  for debtor in select distinct server_id from seat_debts order by server_id loop
    perform from vpn_servers where id = debtor for no key update;
    delete from seat_debts where server_id = debtor;
    get diagnostics debts = row_count;
    update vpn_servers set seat_balance = seat_balance - debts where id = debtor;
    perform repay_seats(debtor, debts);
  end loop;
end $$;
comment on function settle_seat_debts() is 'Writes debts into seat_balance and repays what the reserve allows; safe on several instances.';

create trigger leases_before_update before update on leases for each row execute function leases_before_update();
create trigger leases_after_end after update on leases for each row
  when (old.state = 'held' and new.state = 'clearing') execute function leases_after_end();

create function connections_after_end() returns trigger language plpgsql as $$
begin
  perform pg_notify('tunnel_ended', json_build_object(
    'connection_id', old.id, 'user_id', old.user_id, 'server_id', old.server_id, 'slot', old.lease_slot,
    'version', old.lease_version, 'reason', case tg_op when 'DELETE' then 'removed' else new.end_reason end)::text);
  return null;
end $$;
comment on function connections_after_end() is
  'Whoever ended a tunnel (a call, a trigger, a cascade), every instance hears of it with the commit.';
create trigger connections_after_end after update of status on connections for each row
  when (old.status = 'connected' and new.status = 'disconnected') execute function connections_after_end();
create trigger connections_after_delete after delete on connections for each row
  when (old.status = 'connected') execute function connections_after_end();

create view device_tunnels as
select device_id, client_ip, client_ipv6, server_id, id as connection_id
  from connections where status = 'connected' and superseded_at is null and device_id is not null;
comment on view device_tunnels is 'The present tunnel of a device: what rooms below this one may know of it.'`

export const down = `
drop view device_tunnels;
drop table leases;
drop function confirm_cleared_below(uuid, xid8);
drop function confirm_cleared(uuid, integer[], bigint[]);
drop function settle_seat_debts();
drop function repay_seats(uuid, integer);
drop function leases_after_end();
drop table seat_debts;
drop function promote_reserve(uuid);
drop function leases_before_update();
drop table connections;
drop function connections_after_end();
drop table unsettled_keys;
drop table devices;
drop table wireguard_keys`

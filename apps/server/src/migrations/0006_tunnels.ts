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

create table connections (
  id uuid primary key,
  user_id uuid not null references users on delete cascade,
  server_id uuid references vpn_servers on delete set null,
  device_id uuid references devices on delete set null,
  user_slot smallint not null check (user_slot >= 0),
  client_ip inet not null,
  client_ipv6 inet,
  client_public_key text not null,
  lease_slot integer not null,
  lease_version bigint not null,
  status text not null default 'connected' check (status in ('connected', 'disconnected')),
  superseded_by uuid,
  superseded_at timestamptz,
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
  constraint connections_end check ((status = 'disconnected') = (ended_at is not null))
) with (fillfactor = 85);
create unique index connections_one_per_user_slot on connections (user_id, user_slot)
  where status = 'connected' and superseded_at is null;
create index connections_of_user on connections (user_id, started_at);
create index connections_of_device on connections (device_id) where status = 'connected';
create index connections_superseded on connections (superseded_at) where status = 'connected' and superseded_at is not null;
comment on column connections.client_ip is 'The address inside the tunnel, never the customer''s own.';

create table leases (
  server_id uuid not null references vpn_servers on delete cascade,
  slot integer not null check (slot between 2 and 65534),
  state text not null default 'reserve' check (state in ('available', 'held', 'clearing', 'reserve')),
  connection_id uuid unique references connections on delete set null,
  last_connection_id uuid references connections on delete set null,
  public_key text,
  preshared_key bytea,
  free_at timestamptz not null default '-infinity',
  version bigint not null default 0,
  changed_xid xid8 not null default '0',
  primary key (server_id, slot),
  constraint leases_one_slot_per_key unique (server_id, public_key),
  constraint leases_held_has_key check ((state = 'held') = (public_key is not null)),
  constraint leases_held_has_holder check (state = 'held' or connection_id is null)
) with (fillfactor = 70);
comment on table leases is
  'A row per address of a server. available + held = max_connections (but for seat_balance): these rows are the server''s room. '
  'held -> clearing (the node is told) -> reserve (it confirmed; the address rests) -> available (a seat came free).';
create index leases_available on leases (server_id, free_at) where state = 'available';
create index leases_reserve on leases (server_id, free_at) where state = 'reserve';
create index leases_changed on leases (server_id, changed_xid);
create index leases_last_connection on leases (last_connection_id) where last_connection_id is not null;

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

create function leases_after_end() returns trigger language plpgsql as $$
begin
  update vpn_servers set seat_balance = seat_balance - 1 where id = new.server_id and seat_balance > 0;
  if not found and not promote_reserve(new.server_id) then
    update vpn_servers set seat_balance = seat_balance - 1 where id = new.server_id;
  end if;
  perform pg_notify('node_changes', new.server_id::text);
  return null;
end $$;

create function confirm_cleared(p_server uuid, p_slots integer[], p_versions bigint[]) returns integer language plpgsql as $$
declare
  cleared integer;
begin
  update leases l set state = 'reserve', free_at = clock_timestamp()
    from unnest(p_slots, p_versions) as c(slot, version)
   where l.server_id = p_server and l.slot = c.slot and l.version = c.version and l.state = 'clearing';
  get diagnostics cleared = row_count;
  while cleared > 0
    and exists (select from vpn_servers where id = p_server and seat_balance < 0)
    and promote_reserve(p_server) loop
    update vpn_servers set seat_balance = seat_balance + 1 where id = p_server;
  end loop;
  return cleared;
end $$;
comment on function confirm_cleared(uuid, integer[], bigint[]) is
  'The node holds these peers no more: the addresses begin to rest. Only the version that was cleared counts.';

create trigger leases_before_update before update on leases for each row execute function leases_before_update();
create trigger leases_after_end after update on leases for each row
  when (old.state = 'held' and new.state = 'clearing') execute function leases_after_end()`

export const down = `
drop table leases;
drop function confirm_cleared(uuid, integer[], bigint[]);
drop function leases_after_end();
drop function promote_reserve(uuid);
drop function leases_before_update();
drop table connections;
drop table devices;
drop table wireguard_keys`

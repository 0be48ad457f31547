/**
 * The whole connect in one round trip (house plan, way 1). Order: the user's own connects are serialised by a lock that
 * lives as long as the transaction, then limits, then the first candidate with a rested free address.
 * `clock_timestamp()`, not `now()`: after a lock wait `now()` is older than a release, and a half-empty server would
 * answer "full".
 */
export const up = `
create function take_lease(p_server uuid, p_rest interval) returns integer language plpgsql as $$
declare
  taken integer;
begin
  for attempt in 1..2 loop
    select slot into taken from leases
     where server_id = p_server and state = 'available' and free_at <= clock_timestamp() - p_rest
     order by free_at limit 1 for update skip locked;
    if found then return taken; end if;
  end loop;
  return null;
end $$;
comment on function take_lease(uuid, interval) is
  'The longest-rested free address, locked. Twice, since skip locked may pass by the last free row of a rolled-back rival.';

create function connect_tunnel(
  p_connection uuid, p_user uuid, p_device uuid, p_key text, p_preshared_key bytea, p_candidates uuid[], p_rest interval,
  out outcome text, out connection uuid, out server uuid, out slot integer, out version bigint,
  out address inet, out address6 inet, out preshared_key bytea, out started_at timestamptz, out expires_at timestamptz)
language plpgsql as $$
#variable_conflict use_column
declare
  may entitlements%rowtype;
  seat smallint;
  candidate record;
  held leases%rowtype;
  moment timestamptz;
begin
  perform pg_advisory_xact_lock(hashtextextended(p_user::text, 0));
  select * into may from entitlements e where e.user_id = p_user;
  if not found or not may.is_active then outcome := 'inactive'; return; end if;
  expires_at := may.expires_at;

  insert into wireguard_keys (public_key, user_id) values (p_key, p_user) on conflict (public_key) do nothing;
  if not found and not exists (select from wireguard_keys k where k.public_key = p_key and k.user_id = p_user) then
    outcome := 'key_in_use'; return;
  end if;
  if p_device is not null then
    perform from devices d where d.id = p_device and d.user_id = p_user for key share;
    if not found then outcome := 'device_gone'; return; end if;
  end if;
  if (select count(*) from connections c
       where c.user_id = p_user and c.status = 'connected' and c.superseded_at is null
         and c.client_public_key <> p_key and c.device_id is distinct from coalesce(p_device, p_connection)
     ) >= may.max_connections then
    outcome := 'limit'; return;
  end if;

  for candidate in
    select s.id, s.tier, s.subnet_v4, s.subnet_v6
      from unnest(p_candidates) with ordinality as p(id, place)
      join vpn_servers s on s.id = p.id
     where s.status = 'active' and not s.draining and (s.tier = 'free' or may.tier = 'premium')
     order by p.place
  loop
    select * into held from leases l where l.server_id = candidate.id and l.public_key = p_key and l.state = 'held';
    slot := case when held.connection_id is not null then held.slot else take_lease(candidate.id, p_rest) end;
    exit when slot is not null;
  end loop;
  if slot is null then outcome := 'full'; return; end if;

  moment := clock_timestamp();
  server := candidate.id;
  connection := coalesce(held.connection_id, p_connection);
  address := set_masklen((network(candidate.subnet_v4) + slot)::inet, 32);
  address6 := set_masklen((network(candidate.subnet_v6) + slot)::inet, 128);
  update connections c set superseded_at = moment, superseded_by = connect_tunnel.connection, updated_at = moment
   where (c.device_id = p_device or c.client_public_key = p_key) and c.user_id = p_user
     and c.status = 'connected' and c.superseded_at is null and c.id <> connect_tunnel.connection;
  if p_device is not null then
    update devices d set last_connected_at = moment where d.id = p_device;
  end if;
  select min(s)::smallint into seat from generate_series(0, may.max_connections - 1) s
   where not exists (select from connections c
                      where c.user_id = p_user and c.user_slot = s and c.status = 'connected' and c.superseded_at is null);

  if held.connection_id is not null then
    update connections c set superseded_at = null, superseded_by = null, user_slot = seat, updated_at = moment
     where c.id = held.connection_id and c.superseded_at is not null;
    version := held.version;
    preshared_key := held.preshared_key;
    select c.started_at into started_at from connections c where c.id = held.connection_id;
    outcome := 'kept';
    return;
  end if;

  select l.version + 1 into version from leases l where l.server_id = connect_tunnel.server and l.slot = connect_tunnel.slot;
  insert into connections (id, user_id, server_id, device_id, user_slot, client_ip, client_ipv6, client_public_key,
                           lease_slot, lease_version, started_at)
  values (p_connection, p_user, server, p_device, seat, address, address6, p_key, slot, version, moment);
  update leases l set state = 'held', connection_id = p_connection, last_connection_id = p_connection,
         public_key = p_key, preshared_key = p_preshared_key
   where l.server_id = connect_tunnel.server and l.slot = connect_tunnel.slot;
  preshared_key := p_preshared_key;
  started_at := moment;
  outcome := 'connected';
end $$;
comment on function connect_tunnel(uuid, uuid, uuid, text, bytea, uuid[], interval) is
  'outcome: connected; kept (this key already has its tunnel there); inactive, key_in_use, device_gone, limit, full.';

create function end_connections(p_ids uuid[], p_reason text)
returns table (id uuid, user_id uuid, server_id uuid, slot integer, version bigint) language plpgsql as $$
#variable_conflict use_column
begin
  return query
  with ended as (
    update connections c
       set status = 'disconnected', ended_at = clock_timestamp(), updated_at = clock_timestamp(), end_reason = p_reason
     where c.id = any (p_ids) and c.status = 'connected'
    returning c.id, c.user_id, c.server_id
  ), freed as (
    update leases l set connection_id = null
      from ended e where l.connection_id = e.id
    returning l.server_id, l.slot, l.version, e.id as connection_id
  )
  select e.id, e.user_id, e.server_id, f.slot, f.version from ended e left join freed f on f.connection_id = e.id;
end $$;
comment on function end_connections(uuid[], text) is
  'Ends tunnels; each is told to its node by the lease''s new version. Those already ended are left out.';

create function end_tunnels_of_device() returns trigger language plpgsql as $$
begin
  perform end_connections(array(select id from connections where device_id = old.id and status = 'connected'), 'device_removed');
  return old;
end $$;
create trigger devices_end_tunnels before delete on devices for each row execute function end_tunnels_of_device();

create view device_tunnels as
select device_id, client_ip, client_ipv6, server_id, id as connection_id
  from connections where status = 'connected' and superseded_at is null and device_id is not null;
comment on view device_tunnels is 'The present tunnel of a device: what rooms below this one may know of it.';

create function create_leases(p_server uuid) returns integer language plpgsql as $$
declare
  rows integer;
begin
  insert into leases (server_id, slot, state)
  select s.id, n, case when n - 2 < s.max_connections then 'available' else 'reserve' end
    from vpn_servers s,
         generate_series(2, least((1 << (32 - masklen(s.subnet_v4))) - 2, 2 + greatest(4 * s.max_connections, 256))) n
   where s.id = p_server;
  get diagnostics rows = row_count;
  return rows;
end $$;
comment on function create_leases(uuid) is
  'The rows of a new server: as many free seats as tunnels are allowed, and spare addresses so that none is reused soon.'`

export const down = `
drop view device_tunnels;
drop function create_leases(uuid);
drop trigger devices_end_tunnels on devices;
drop function end_tunnels_of_device();
drop function end_connections(uuid[], text);
drop function connect_tunnel(uuid, uuid, uuid, text, bytea, uuid[], interval);
drop function take_lease(uuid, interval)`

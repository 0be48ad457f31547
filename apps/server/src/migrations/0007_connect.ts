/**
 * The whole connect in one round trip (house plan, way 1; docs/decisions/0007). Locks are taken in one order, by
 * everything that touches tunnels: the user's row, the user's advisory lock, devices, connections by id, leases. Free and
 * spare leases and the servers' rows are taken with `skip locked`, so that nothing waits for them. Whoever ends tunnels in
 * several statements of one transaction calls lock_user first.
 * `enable_seqscan = off`: a session that planned while the tables were empty would scan them whole until the next analyze.
 * `clock_timestamp()`, not `now()`: after a lock wait `now()` is older than a release, and a half-empty server would
 * answer "full".
 */
export const up = `
create function lock_user(p_user uuid) returns void language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(p_user::text, 0));
end $$;
comment on function lock_user(uuid) is 'One at a time: what counts or moves the tunnels of a user. Lives as long as the transaction.';

create function take_lease(p_server uuid, p_rest interval, out slot integer, out version bigint) language plpgsql as $$
declare
  rested timestamptz;
begin
  for attempt in 1..2 loop
    rested := clock_timestamp() - p_rest;
    select l.slot, l.version into take_lease.slot, take_lease.version from leases l
     where l.server_id = p_server and l.state = 'available' and l.free_at <= rested
     order by l.free_at limit 1 for update skip locked;
    exit when found;
  end loop;
end $$;
comment on function take_lease(uuid, interval) is
  'The longest-rested free address, locked. Twice, since skip locked may pass by the last free row of a rolled-back rival.';

create function free_user_slot(p_user uuid, p_taken integer) returns smallint language plpgsql stable as $$
begin
  return (select min(s) from generate_series(0, p_taken) s
           where not exists (select from connections c
                              where c.user_id = p_user and c.user_slot = s and c.status = 'connected'));
end $$;
comment on function free_user_slot(uuid, integer) is
  'The lowest place of a user that none of his p_taken counted tunnels has; a unique index settles races.';

create function connect_tunnel(
  p_connection uuid, p_user uuid, p_device uuid, p_key text, p_generated boolean, p_preshared_key bytea,
  p_candidates uuid[], p_rest interval, p_overlap interval,
  out outcome text, out connection uuid, out slot integer, out version bigint,
  out address inet, out address6 inet, out public_key text, out preshared_key bytea,
  out started_at timestamptz, out expires_at timestamptz, out device uuid, out revived boolean, out replaced uuid[], out untold boolean,
  out server uuid, out hostname text, out location text, out ip_address inet, out endpoint text, out server_key text)
language plpgsql set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  may entitlements%rowtype;
  others integer := 0;
  own uuid[] := '{}';
  known boolean := false;
  device_key text;
  candidate record;
  held record;
  moment timestamptz;
begin
  perform from users u where u.id = p_user for key share;
  if not found then outcome := 'inactive'; return; end if;
  perform lock_user(p_user);
  select * into may from entitlements e where e.user_id = p_user;
  if not found or not may.is_active then outcome := 'inactive'; return; end if;
  expires_at := may.expires_at;

  public_key := p_key;
  if p_device is not null then
    select d.id, d.public_key into device, device_key from devices d
     where d.id = p_device and d.user_id = p_user for key share;
    if not found then outcome := 'device_gone'; return; end if;
    public_key := coalesce(p_key, device_key);
    known := true;
  elsif not p_generated then
    select d.id into device from devices d where d.public_key = p_key and d.user_id = p_user for key share;
    known := found;
  end if;

  select count(*) filter (where not mine and counts), coalesce(array_agg(id) filter (where mine), '{}') into others, own
    from (select c.id, c.superseded_at is null as counts,
                 coalesce(c.device_id = connect_tunnel.device, false)
                    or c.client_public_key = connect_tunnel.public_key as mine
            from connections c where c.user_id = p_user and c.status = 'connected') present;
  if others >= may.max_connections then outcome := 'limit'; return; end if;
  if p_device is not null and device_key is null and p_key is null then outcome := 'no_key'; return; end if;
  if p_device is not null and public_key is distinct from device_key then outcome := 'wrong_key'; return; end if;
  if cardinality(own) > 0 then
    perform from connections c where c.id = any (own) order by c.id for update;
  end if;

  for candidate in
    select s.id, s.hostname, s.location, s.ip_address, s.endpoint, s.public_key, s.subnet_v4, s.subnet_v6
      from unnest(p_candidates) with ordinality as p(id, place)
      join vpn_servers s on s.id = p.id
     where s.status = 'active' and not s.draining and s.public_key is not null
       and (s.tier = 'free' or may.tier = 'premium')
     order by p.place
  loop
    if not p_generated then
      select l.connection_id, l.slot, l.version, l.preshared_key, c.user_id, c.status, c.superseded_at, c.started_at,
             coalesce(c.kept_at, c.last_handshake_at) is null as untold
        into held
        from leases l join connections c on c.id = l.connection_id
       where l.server_id = candidate.id and l.public_key = connect_tunnel.public_key for update of c;
      if found and held.user_id <> p_user then outcome := 'key_in_use'; return; end if;
      if found and held.status = 'connected' then
        connection := held.connection_id;
        slot := held.slot;
        version := held.version;
        exit;
      elsif found then
        -- It was on its way out with its answer; now its key is wanted again.
        update leases l set connection_id = null where l.connection_id = held.connection_id;
      end if;
    end if;
    select t.slot, t.version + 1 into connect_tunnel.slot, connect_tunnel.version from take_lease(candidate.id, p_rest) t;
    exit when slot is not null;
  end loop;
  if slot is null then outcome := 'full'; return; end if;

  if not known and connection is null then
    insert into wireguard_keys (public_key, user_id) values (connect_tunnel.public_key, p_user)
      on conflict (public_key) do nothing;
    if not found then
      perform from wireguard_keys k
        where k.public_key = connect_tunnel.public_key and k.user_id = p_user for key share;
      if not found then outcome := 'key_in_use'; return; end if;
    end if;
  end if;

  moment := clock_timestamp();
  outcome := case when connection is null then 'connected' else 'kept' end;
  connection := coalesce(connection, p_connection);
  server := candidate.id;
  hostname := candidate.hostname;
  location := candidate.location;
  ip_address := candidate.ip_address;
  endpoint := candidate.endpoint;
  server_key := candidate.public_key;
  address := set_masklen((network(candidate.subnet_v4) + slot)::inet, 32);
  address6 := set_masklen((network(candidate.subnet_v6) + slot)::inet, 128);
  replaced := '{}';
  revived := false;
  untold := false;
  if cardinality(own) > 0 then
    with moved as (
      update connections c
         set superseded_at = moment, superseded_until = moment + p_overlap, superseded_by = connect_tunnel.connection,
             user_slot = null, updated_at = moment
       where c.id = any (own) and c.id <> connect_tunnel.connection and c.status = 'connected' and c.superseded_at is null
      returning c.id)
    select coalesce(array_agg(m.id), '{}') into replaced from moved m;
  end if;
  if device is not null then
    update devices d set last_connected_at = moment where d.id = connect_tunnel.device;
    untold := exists (select from unsettled_keys k where k.device_id = connect_tunnel.device);
  end if;

  if outcome = 'kept' then
    revived := held.superseded_at is not null;
    untold := untold or held.untold;
    update connections c
       set superseded_at = null, superseded_until = null, superseded_by = null, updated_at = moment,
           kept_at = case when not held.untold then moment end,
           user_slot = case when revived then free_user_slot(p_user, others) else c.user_slot end,
           device_id = coalesce(c.device_id, connect_tunnel.device)
     where c.id = connect_tunnel.connection;
    preshared_key := held.preshared_key;
    started_at := held.started_at;
    return;
  end if;

  insert into connections (id, user_id, server_id, device_id, user_slot, client_ip, client_ipv6, client_public_key,
                           lease_slot, lease_version, started_at, created_at, updated_at)
  values (p_connection, p_user, server, device,
          case when others = 0 then 0 else free_user_slot(p_user, others) end,
          address, address6, public_key, slot, version, moment, moment, moment);
  update leases l set state = 'held', connection_id = p_connection, last_connection_id = p_connection,
         public_key = connect_tunnel.public_key, preshared_key = p_preshared_key
   where l.server_id = candidate.id and l.slot = connect_tunnel.slot;
  preshared_key := p_preshared_key;
  started_at := moment;
end $$;
comment on function connect_tunnel(uuid, uuid, uuid, text, boolean, bytea, uuid[], interval, interval) is
  'outcome: connected; kept (this key already has its tunnel there); inactive, device_gone, limit, no_key, wrong_key, full, key_in_use. '
  'untold: key or tunnel is of a call that may still take it back; this one asks tell_connect once it is live.';

create function tell_connect(p_connection uuid, p_user uuid, p_device uuid, p_key text, p_kept boolean)
returns text language plpgsql set enable_seqscan = off as $$
declare
  present text;
begin
  perform from users u where u.id = p_user for key share;
  perform lock_user(p_user);
  if p_device is not null then
    select d.public_key into present from devices d where d.id = p_device and d.user_id = p_user for key share;
    if not found then return 'device_gone'; end if;
    if present is distinct from p_key then return 'key_changed'; end if;
  end if;
  perform from connections c
    where c.id = p_connection and c.user_id = p_user and c.client_public_key = p_key and c.status = 'connected' for update;
  if not found then return 'gone'; end if;
  if p_kept then update connections c set kept_at = clock_timestamp() where c.id = p_connection; end if;
  -- Who connects with a key has it: whoever brought it must not take it back any more.
  delete from unsettled_keys k where k.device_id = p_device and not k.generated;
  return 'told';
end $$;
comment on function tell_connect(uuid, uuid, uuid, text, boolean) is
  'told: this tunnel may be answered, and nothing takes key or tunnel back any more. Else it was taken back meanwhile.';

create function cancel_connect(p_connection uuid, p_user uuid, p_kept boolean, p_overlap interval)
returns boolean language plpgsql set enable_seqscan = off as $$
declare
  claim connections%rowtype;
  heir uuid;
  allowed integer;
  old uuid;
  taken integer;
begin
  perform from users where id = p_user for key share;
  perform lock_user(p_user);
  perform from connections where user_id = p_user and status = 'connected'
    and (id = p_connection or superseded_by = p_connection) order by id for update;
  select * into claim from connections where id = p_connection and user_id = p_user;
  if not found or (claim.kept_at is not null and not p_kept) then return false; end if;
  if p_kept then
    select id into heir from connections
     where user_id = p_user and status = 'connected' and superseded_by = p_connection
     order by superseded_at desc, id limit 1;
    if heir is null or claim.status <> 'connected' or claim.superseded_at is not null then return false; end if;
    update connections
       set superseded_at = clock_timestamp(), superseded_until = clock_timestamp() + p_overlap, superseded_by = heir,
           user_slot = null, updated_at = clock_timestamp()
     where id = p_connection;
  else
    update leases set connection_id = null where connection_id = p_connection;
    delete from connections where id = p_connection;
    if claim.superseded_at is not null then
      update connections set superseded_by = claim.superseded_by
       where user_id = p_user and status = 'connected' and superseded_by = p_connection;
      return true;
    end if;
  end if;
  select max_connections into allowed from entitlements where user_id = p_user and is_active;
  for old in
    select id from connections where user_id = p_user and status = 'connected' and superseded_by = p_connection
     order by superseded_at desc, id
  loop
    select count(*) into taken from connections
     where user_id = p_user and status = 'connected' and superseded_at is null;
    exit when allowed is null or taken >= allowed;
    update connections
       set superseded_at = null, superseded_until = null, superseded_by = null,
           user_slot = free_user_slot(p_user, taken),
           updated_at = clock_timestamp()
     where id = old;
  end loop;
  return true;
end $$;
comment on function cancel_connect(uuid, uuid, boolean, interval) is
  'Takes back a claim that nobody was told of: its address is cleared, its row goes, what it replaced is as before. '
  'A tunnel that another connect has kept meanwhile stays. p_kept: only the replacement is taken back.';

create function end_connections(p_ids uuid[], p_reason text, p_linger interval default '0')
returns table (id uuid, user_id uuid, server_id uuid, slot integer, version bigint) language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
begin
  perform from connections c where c.id = any (p_ids) and c.status = 'connected' order by c.id for update;
  return query
  with ended as (
    update connections c
       set status = 'disconnected', ended_at = clock_timestamp(), updated_at = clock_timestamp(), end_reason = p_reason,
           -- Here and not by the cascade: a row changed twice in a transaction has all its references checked, and locked.
           device_id = case when p_reason = 'device_removed' then null else c.device_id end,
           leaving_at = case when p_linger > '0' then clock_timestamp() + p_linger end
     where c.id = any (p_ids) and c.status = 'connected'
    returning c.id, c.user_id, c.server_id, c.lease_slot, c.lease_version
  ), freed as (
    update leases l set connection_id = null
      from (select l.server_id, l.slot, e.id from ended e join leases l on l.connection_id = e.id
             where p_linger <= '0' order by l.server_id, l.slot) e
     where l.server_id = e.server_id and l.slot = e.slot
    returning l.version, e.id
  )
  select e.id, e.user_id, e.server_id, e.lease_slot, coalesce(f.version, e.lease_version + 1)
    from ended e left join freed f on f.id = e.id;
end $$;
comment on function end_connections(uuid[], text, interval) is
  'Ends tunnels; each is told to its node by the lease''s new version, after p_linger. Those already ended are left out.';

create function release_leaving() returns integer language plpgsql as $$
declare
  released integer;
begin
  perform from connections where leaving_at <= clock_timestamp() order by id for update;
  with due as (
    update connections set leaving_at = null where leaving_at <= clock_timestamp() returning id)
  update leases l set connection_id = null from due where l.connection_id = due.id;
  get diagnostics released = row_count;
  return released;
end $$;
comment on function release_leaving() is 'The peers of tunnels that ended with a delay go now.';

create function enforce_entitlement(p_user uuid)
returns table (id uuid, user_id uuid, server_id uuid, slot integer, version bigint) language plpgsql as $$
#variable_conflict use_column
declare
  may entitlements%rowtype;
  surplus uuid[];
begin
  -- An erasure holds the tunnels already, and must not ask for the lock after them.
  perform from users u where u.id = p_user for key share;
  if not found then return; end if;
  perform lock_user(p_user);
  select * into may from entitlements e where e.user_id = p_user;
  if not found then return; end if;
  select array_agg(t.id) into surplus
    from (select p.*, row_number() over (partition by p.forbidden, p.counts order by p.started_at desc, p.id desc) as place
            from (select c.id, c.started_at, c.superseded_at is null as counts,
                         not may.is_active or (may.tier = 'free' and s.tier is not distinct from 'premium') as forbidden
                    from connections c left join vpn_servers s on s.id = c.server_id
                   where c.user_id = p_user and c.status = 'connected') p) t
   where t.forbidden or (t.counts and t.place > may.max_connections);
  if surplus is null then return; end if;
  return query select e.* from end_connections(surplus, case when may.is_active then 'plan_ended' else 'deactivated' end) e;
end $$;
comment on function enforce_entitlement(uuid) is
  'Ends what the user may not have any more: all when deactivated, else premium servers on a free plan, then the oldest above the limit.';

create function end_tunnels_of_device() returns trigger language plpgsql as $$
begin
  perform end_connections(array(select id from connections where device_id = old.id and status = 'connected'), 'device_removed',
    make_interval(secs => coalesce(nullif(current_setting('prime.linger_ms', true), ''), '0')::numeric / 1000));
  return old;
end $$;
comment on function end_tunnels_of_device() is
  'prime.linger_ms, set for the transaction: the deletion came through such a tunnel, whose peer goes so much later.';
create trigger devices_end_tunnels before delete on devices for each row execute function end_tunnels_of_device();

create function end_tunnels_of_erased() returns trigger language plpgsql as $$
begin
  perform from devices where user_id = old.id order by id for update;
  perform end_connections(array(select id from connections where user_id = old.id and status = 'connected'), 'account_removed');
  return old;
end $$;
comment on function end_tunnels_of_erased() is 'Before the cascades, so that locks are taken in the one order.';
create trigger users_end_tunnels_of_erased before delete on users for each row execute function end_tunnels_of_erased();

create function end_tunnels_of_user() returns trigger language plpgsql as $$
begin
  perform enforce_entitlement(case tg_op when 'DELETE' then old.user_id else new.user_id end);
  return null;
end $$;
create constraint trigger subscriptions_end_tunnels after insert or update or delete on subscriptions
  deferrable initially deferred for each row execute function end_tunnels_of_user();

create function end_tunnels_of_inactive() returns trigger language plpgsql as $$
begin
  perform enforce_entitlement(new.id);
  return null;
end $$;
create trigger users_end_tunnels after update of is_active on users for each row
  when (old.is_active and not new.is_active) execute function end_tunnels_of_inactive();
comment on function end_tunnels_of_inactive() is
  'Suspension and the end of its tunnels are one transaction: a connect under way is waited for and ended, a later one refused.';

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
drop function create_leases(uuid);
drop trigger users_end_tunnels on users;
drop function end_tunnels_of_inactive();
drop trigger users_end_tunnels_of_erased on users;
drop function end_tunnels_of_erased();
drop trigger subscriptions_end_tunnels on subscriptions;
drop function end_tunnels_of_user();
drop trigger devices_end_tunnels on devices;
drop function end_tunnels_of_device();
drop function enforce_entitlement(uuid);
drop function release_leaving();
drop function end_connections(uuid[], text, interval);
drop function cancel_connect(uuid, uuid, boolean, interval);
drop function tell_connect(uuid, uuid, uuid, text, boolean);
drop function connect_tunnel(uuid, uuid, uuid, text, boolean, bytea, uuid[], interval, interval);
drop function free_user_slot(uuid, integer);
drop function take_lease(uuid, interval);
drop function lock_user(uuid)`

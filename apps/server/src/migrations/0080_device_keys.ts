/**
 * A device gets another key: its tunnel goes on under the old one until the new one is used. Locks are taken in the one
 * order of 0007.
 */
export const up = `
alter table devices add column key_changed_at timestamptz;
comment on column devices.key_changed_at is 'When the present key came; null: with the device.';

create function replace_device_key(p_user uuid, p_device uuid, p_key text, out outcome text, out previous text)
language plpgsql as $$
declare
  since timestamptz;
  lost uuid;
begin
  perform from users u where u.id = p_user for key share;
  perform lock_user(p_user);
  select d.public_key, d.key_changed_at into previous, since
    from devices d where d.id = p_device and d.user_id = p_user for update;
  if not found then outcome := 'device_gone'; return; end if;
  if previous = p_key then outcome := 'same'; return; end if;
  insert into wireguard_keys (public_key, user_id) values (p_key, p_user) on conflict (public_key) do nothing;
  if not found then
    perform from wireguard_keys k where k.public_key = p_key and k.user_id = p_user for key share;
    if not found then outcome := 'key_in_use'; return; end if;
    perform from devices d where d.public_key = p_key;
    if found then outcome := 'key_in_use'; return; end if;
    -- Also an earlier key of this device, as long as its peer is there.
    perform from connections c where c.user_id = p_user and c.client_public_key = p_key
        and (c.status = 'connected' or c.leaving_at is not null);
    if found then outcome := 'key_in_use'; return; end if;
  end if;
  perform from unsettled_keys k where k.device_id = p_device and k.generated;
  if found then
    -- Nobody has that key, nor will: the tunnel before it is the one that what comes now replaces, or goes back to.
    perform from connections c where c.user_id = p_user and c.status = 'connected'
        and (c.device_id = p_device or c.client_public_key = previous)
      order by c.id for update;
    for lost in
      select c.id from connections c
       where c.device_id = p_device and c.client_public_key = previous and c.status = 'connected' order by c.started_at desc
    loop
      update connections c set kept_at = null where c.id = lost;
      perform cancel_connect(lost, p_user, false, '0');
    end loop;
    delete from device_subscriptions s where s.device_id = p_device and s.public_key = previous;
  end if;
  update devices d set public_key = p_key, key_changed_at = clock_timestamp(), updated_at = clock_timestamp()
   where d.id = p_device;
  insert into unsettled_keys as k (device_id, previous_key, previous_changed_at) values (p_device, previous, since)
    on conflict (device_id) do update set generated = false, changed_at = excluded.changed_at;
  outcome := 'replaced';
end $$;
comment on function replace_device_key(uuid, uuid, text) is
  'outcome: replaced, same, device_gone, key_in_use. Says nothing to the tunnel of the device: the caller does, in the same '
  'transaction, and either settles the key afterwards or undoes it. An unsettled key made here goes, with its tunnels and its subscription.';

create function settle_device_key(p_user uuid, p_device uuid, p_key text, p_tunnel uuid)
returns boolean language plpgsql set enable_seqscan = off as $$
begin
  perform from users u where u.id = p_user for key share;
  perform lock_user(p_user);
  perform from devices d where d.id = p_device and d.user_id = p_user and d.public_key = p_key for key share;
  if not found then return false; end if;
  if p_tunnel is not null then
    update connections c set kept_at = clock_timestamp()
     where c.id = p_tunnel and c.client_public_key = p_key and c.status = 'connected';
    if not found then return false; end if;
  end if;
  delete from unsettled_keys k where k.device_id = p_device;
  return true;
end $$;
comment on function settle_device_key(uuid, uuid, text, uuid) is
  'The key is good and may be told: nothing takes it back any more, nor p_tunnel, which another call made and this one '
  'answers with. False: the device has got another key meanwhile, or that tunnel is gone.';

create function undo_device_key(
  p_user uuid, p_device uuid, p_key text, p_connection uuid, p_claimed boolean, p_overlap interval)
returns uuid[] language plpgsql set enable_seqscan = off as $$
declare
  present text;
  before unsettled_keys%rowtype;
  unsettled boolean;
  servers uuid[];
  tunnel uuid;
begin
  perform from users u where u.id = p_user for key share;
  perform lock_user(p_user);
  select d.public_key into present from devices d where d.id = p_device and d.user_id = p_user for update;
  if not found then return '{}'; end if;
  select k.* into before from unsettled_keys k where k.device_id = p_device;
  unsettled := found;
  if present = p_key and not unsettled then return '{}'; end if;
  perform from connections c where c.user_id = p_user and c.status = 'connected'
      and (c.id in (p_connection, before.rekeyed) or c.superseded_by = p_connection or c.device_id = p_device)
    order by c.id for update;
  select array_agg(distinct c.server_id) into servers
    from connections c where c.user_id = p_user and c.status = 'connected' and c.server_id is not null
      and (c.id in (p_connection, before.rekeyed) or c.device_id = p_device);

  if present is distinct from p_key then
    perform from connections c where c.id = p_connection and c.client_public_key = p_key and c.status = 'connected';
    if not found or not p_claimed then return '{}'; end if;
    perform cancel_connect(p_connection, p_user, false, p_overlap);
    return coalesce(servers, '{}');
  end if;

  if p_connection is distinct from before.rekeyed then
    perform from connections c where c.id = p_connection and c.status = 'connected';
    if found then perform cancel_connect(p_connection, p_user, false, p_overlap); end if;
  end if;
  if before.generated then
    for tunnel in
      select c.id from connections c where c.device_id = p_device and c.client_public_key = p_key and c.status = 'connected'
    loop
      update connections c set kept_at = null where c.id = tunnel;
      perform cancel_connect(tunnel, p_user, false, p_overlap);
    end loop;
  end if;
  insert into wireguard_keys (public_key, user_id)
    select before.previous_key, p_user where before.previous_key is not null on conflict (public_key) do nothing;
  perform from wireguard_keys k where k.public_key = before.previous_key and k.user_id = p_user;
  if not found then before.previous_key := null; end if;
  perform from connections c where c.id = before.rekeyed and c.status = 'connected';
  if found then
    perform from connections c
      where c.user_id = p_user and c.client_public_key = before.previous_key and c.status = 'connected';
    if found or before.previous_key is null then
      perform end_connections(array[before.rekeyed], 'key_rotated');
    else
      update leases l set connection_id = null
        from connections c
       where c.user_id = p_user and c.client_public_key = before.previous_key and c.leaving_at is not null
         and l.connection_id = c.id;
      perform rekey_lease(before.rekeyed, before.previous_key, before.rekeyed_psk);
    end if;
  end if;
  perform from devices d where d.public_key = before.previous_key;
  if found then before.previous_key := null; end if;
  update devices d set public_key = before.previous_key, key_changed_at = before.previous_changed_at,
         updated_at = clock_timestamp()
   where d.id = p_device;
  delete from unsettled_keys k where k.device_id = p_device;
  return coalesce(servers, '{}');
end $$;
comment on function undo_device_key(uuid, uuid, text, uuid, boolean, interval) is
  'No server took the key in p_connection (null: it had no tunnel of its own), which p_claimed says was made for it. Device '
  'and tunnel go back to the last settled key; nothing that another call was told is touched: a later key stays, and so does '
  'this one once it is settled (asked for again, or connected with). A key made here goes in any case, with all its tunnels: '
  'nobody has it. A tunnel whose former key has another one meanwhile, or another owner, ends. Returns the servers to wake.';

create function rekey_lease(p_connection uuid, p_key text, p_preshared_key bytea, out slot integer, out version bigint)
language plpgsql as $$
#variable_conflict use_column
begin
  update connections c set client_public_key = p_key, updated_at = clock_timestamp()
   where c.id = p_connection and c.status = 'connected';
  update leases l set public_key = p_key, preshared_key = p_preshared_key
   where l.connection_id = p_connection
  returning l.slot, l.version into rekey_lease.slot, rekey_lease.version;
end $$;
comment on function rekey_lease(uuid, text, bytea) is
  'The lease passes to another key at once: same address, same connection, a new version for the node.';

create function rotate_tunnel(
  p_connection uuid, p_user uuid, p_device uuid, p_key text, p_fresh_psk bytea, p_rest interval, p_overlap interval,
  out outcome text, out connection uuid, out slot integer, out version bigint, out replaced uuid[])
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  present connections%rowtype;
  waits boolean;
  target record;
  moment timestamptz;
begin
  replaced := '{}';
  perform from connections c where c.device_id = p_device and c.status = 'connected' order by c.id for update;
  select * into present from connections c
   where c.device_id = p_device and c.status = 'connected' and c.superseded_at is null and c.server_id is not null;
  if not found then outcome := 'none'; return; end if;
  connection := present.id;
  waits := present.last_handshake_at is null and exists (
    select from connections c
     where c.superseded_by = present.id and c.device_id = p_device and c.status = 'connected'
       and c.client_public_key <> present.client_public_key);

  select s.id, s.subnet_v4, s.subnet_v6 into target from vpn_servers s where s.id = present.server_id;
  if not waits then
    select t.slot, t.version + 1 into rotate_tunnel.slot, rotate_tunnel.version from take_lease(target.id, p_rest) t;
  end if;
  if slot is null then
    update unsettled_keys k set rekeyed = present.id, rekeyed_psk = l.preshared_key
      from leases l
     where k.device_id = p_device and k.rekeyed is null and k.previous_key = present.client_public_key
       and l.connection_id = present.id;
    outcome := 'passed';
    return;
  end if;
  moment := clock_timestamp();
  update connections c
     set superseded_at = moment, superseded_until = moment + p_overlap, superseded_by = p_connection,
         user_slot = null, updated_at = moment
   where c.id = present.id;
  insert into connections (id, user_id, server_id, device_id, user_slot, client_ip, client_ipv6, client_public_key,
                           lease_slot, lease_version, started_at, created_at, updated_at)
  values (p_connection, p_user, target.id, p_device, present.user_slot,
          set_masklen((network(target.subnet_v4) + slot)::inet, 32),
          set_masklen((network(target.subnet_v6) + slot)::inet, 128), p_key, slot, version, moment, moment, moment);
  update leases l set state = 'held', connection_id = p_connection, last_connection_id = p_connection,
         public_key = p_key, preshared_key = p_fresh_psk
   where l.server_id = target.id and l.slot = rotate_tunnel.slot;
  connection := p_connection;
  replaced := array[present.id];
  outcome := 'overlaps';
end $$;
comment on function rotate_tunnel(uuid, uuid, uuid, text, bytea, interval, interval) is
  'Under lock_user. overlaps: the new key has a second lease on the same server, not counted, and the old peer its time; '
  'passed: the caller is to rekey the lease (no room, or a key that waits already and was never used); none: no tunnel.';

create table device_subscriptions (
  device_id uuid not null references devices on delete cascade,
  user_id uuid not null references users on delete cascade,
  token_hash bytea not null unique,
  public_key text not null,
  private_key bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (device_id, public_key)
);
create index device_subscriptions_of_user on device_subscriptions (user_id);
comment on table device_subscriptions is
  'Good as long as the device has this key: another key revokes it by itself. Written with the key, so that what revokes '
  'all of an account meanwhile finds it; a second row of a device is there only until its key is settled.';
comment on column device_subscriptions.private_key is 'Sealed under the token, of which only a hash is kept.'`

export const down = `
drop table device_subscriptions;
drop function rotate_tunnel(uuid, uuid, uuid, text, bytea, interval, interval);
drop function rekey_lease(uuid, text, bytea);
drop function undo_device_key(uuid, uuid, text, uuid, boolean, interval);
drop function settle_device_key(uuid, uuid, text, uuid);
drop function replace_device_key(uuid, uuid, text);
alter table devices drop column key_changed_at`

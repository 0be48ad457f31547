/**
 * A device gets another key: its tunnel goes on under the old one until the new one is used. Locks are taken in the one
 * order of 0007.
 */
export const up = `
alter table devices add column key_changed_at timestamptz;
comment on column devices.key_changed_at is 'When the present key came; null: with the device.';

create function replace_device_key(p_user uuid, p_device uuid, p_key text, out outcome text, out previous text)
language plpgsql as $$
begin
  perform from users u where u.id = p_user for key share;
  perform lock_user(p_user);
  select d.public_key into previous from devices d where d.id = p_device and d.user_id = p_user for update;
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
  update devices d set public_key = p_key, key_changed_at = clock_timestamp(), updated_at = clock_timestamp()
   where d.id = p_device;
  outcome := 'replaced';
end $$;
comment on function replace_device_key(uuid, uuid, text) is
  'outcome: replaced, same, device_gone, key_in_use. Says nothing to the tunnel of the device: the caller does, in the same transaction.';

create function restore_device_key(p_user uuid, p_device uuid, p_from text, p_to text) returns boolean
language plpgsql as $$
begin
  perform from users u where u.id = p_user for key share;
  perform lock_user(p_user);
  update devices d set public_key = p_to, updated_at = clock_timestamp()
   where d.id = p_device and d.user_id = p_user and d.public_key = p_from;
  return found;
end $$;
comment on function restore_device_key(uuid, uuid, text, text) is
  'The tunnel of the new key did not come: the device keeps its old one, unless it has got a third meanwhile.';

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
  out outcome text, out connection uuid, out previous_key text, out previous_psk bytea, out slot integer, out version bigint,
  out replaced uuid[])
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  present connections%rowtype;
  before connections%rowtype;
  target record;
  moment timestamptz;
begin
  replaced := '{}';
  perform from connections c where c.device_id = p_device and c.status = 'connected' order by c.id for update;
  select * into present from connections c
   where c.device_id = p_device and c.status = 'connected' and c.superseded_at is null and c.server_id is not null;
  if not found then outcome := 'none'; return; end if;
  connection := present.id;
  previous_key := present.client_public_key;
  select l.preshared_key into previous_psk from leases l where l.connection_id = present.id;
  select * into before from connections c
   where c.superseded_by = present.id and c.device_id = p_device and c.status = 'connected'
     and c.client_public_key <> present.client_public_key
   order by c.superseded_at desc limit 1;
  if found and present.last_handshake_at is null then outcome := 'passed'; return; end if;

  select s.id, s.subnet_v4, s.subnet_v6 into target from vpn_servers s where s.id = present.server_id;
  select t.slot, t.version + 1 into rotate_tunnel.slot, rotate_tunnel.version from take_lease(target.id, p_rest) t;
  if slot is null then outcome := 'passed'; return; end if;
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
  device_id uuid primary key references devices on delete cascade,
  user_id uuid not null references users on delete cascade,
  token_hash bytea not null unique,
  public_key text not null,
  private_key bytea not null,
  created_at timestamptz not null default clock_timestamp()
);
create index device_subscriptions_of_user on device_subscriptions (user_id);
comment on table device_subscriptions is 'Good as long as the device has this key: another key revokes it by itself.';
comment on column device_subscriptions.private_key is 'Sealed under the token, of which only a hash is kept.'`

export const down = `
drop table device_subscriptions;
drop function rotate_tunnel(uuid, uuid, uuid, text, bytea, interval, interval);
drop function rekey_lease(uuid, text, bytea);
drop function restore_device_key(uuid, uuid, text, text);
drop function replace_device_key(uuid, uuid, text);
alter table devices drop column key_changed_at`

/**
 * The fleet's own arithmetic. `available + held = max_connections + seat_balance` holds after each of these functions,
 * whoever races: each moves both sides by the same number. Locks are taken in one order, leases before their server's
 * row, and leases only with `skip locked` once that row is held, so that none of this waits in a ring with a connect
 * (lease, then a key share of the server) or an end (lease, then the server).
 */
export const up = `
alter table nodes
  add column link_id uuid,
  add column listen_port integer check (listen_port between 1 and 65535),
  add column ping_ms double precision check (ping_ms >= 0),
  add column load1 double precision check (load1 >= 0),
  add column cores integer check (cores > 0),
  add column conntrack double precision check (conntrack between 0 and 1);
alter table nodes set (fillfactor = 70);
comment on column nodes.link_id is 'The link that is open now: a late goodbye of an older one changes nothing.';

create index leases_held on leases (server_id) where state = 'held';

create function settle_seats(p_server uuid) returns integer language plpgsql as $$
declare
  s vpn_servers%rowtype;
  off integer;
  moved integer := 0;
begin
  select * into s from vpn_servers where id = p_server for no key update;
  if not found then return null; end if;
  off := s.seat_balance;
  if off > 0 then
    with pick as materialized (
      select slot from leases where server_id = p_server and state = 'available'
       order by free_at desc limit off for update skip locked)
    update leases l set state = 'reserve' from pick where l.server_id = p_server and l.slot = pick.slot;
    get diagnostics moved = row_count;
    off := off - moved;
  elsif off < 0 then
    insert into leases (server_id, slot)
    select p_server, n
      from generate_series(2, least((1 << (32 - masklen(s.subnet_v4))) - 2, 2 + greatest(4 * s.max_connections, 256))) n
    on conflict do nothing;
    with pick as materialized (
      select slot from leases where server_id = p_server and state = 'reserve'
       order by free_at limit -off for update skip locked)
    update leases l set state = 'available' from pick where l.server_id = p_server and l.slot = pick.slot;
    get diagnostics moved = row_count;
    off := off + moved;
  end if;
  if moved > 0 then
    update vpn_servers set seat_balance = off where id = p_server;
  end if;
  return off;
end $$;
comment on function settle_seats(uuid) is
  'Brings a server''s free seats to what max_connections allows, as far as free or spare addresses reach; returns seat_balance.';

create function resize_server(p_server uuid, p_max integer) returns integer language plpgsql as $$
begin
  update vpn_servers
     set seat_balance = seat_balance + max_connections - p_max, max_connections = p_max, updated_at = clock_timestamp()
   where id = p_server;
  return settle_seats(p_server);
end $$;
comment on function resize_server(uuid, integer) is
  'Changes how many tunnels a server takes. Lowered below its tunnels, the rest stays as a positive seat_balance: so many ends give no seat back.';

create or replace function repay_seats(p_server uuid, p_spare integer) returns void language plpgsql as $$
declare
  owed integer := 0;
begin
  if p_spare = 0 then return; end if;
  select -seat_balance into owed from vpn_servers where id = p_server and seat_balance < 0 for no key update;
  if not found then return; end if;
  while owed > 0 and promote_reserve(p_server) loop
    update vpn_servers set seat_balance = seat_balance + 1 where id = p_server;
    owed := owed - 1;
  end loop;
end $$;
comment on function repay_seats(uuid, integer) is
  'Gives back seats that came free while no address was in reserve. Nothing owed must end it: null > 0 and f() calls f.';

create function remove_server(p_server uuid) returns boolean language plpgsql as $$
begin
  perform from connections where server_id = p_server and status = 'connected' order by id for update;
  perform from leases where server_id = p_server order by slot for update;
  perform end_connections(
    array(select connection_id from leases where server_id = p_server and connection_id is not null), 'server_removed');
  delete from vpn_servers where id = p_server;
  return found;
end $$;
comment on function remove_server(uuid) is
  'Ends what tunnels are left and deletes the server. Its leases are locked first: a connect under way is waited for, a new one finds none free.'`

/** `repay_seats` keeps its repair: the release before this one may not leak a seat with each confirmation either. */
export const down = `
drop function remove_server(uuid);
drop function resize_server(uuid, integer);
drop function settle_seats(uuid);
drop index leases_held;
alter table nodes reset (fillfactor);
alter table nodes
  drop column link_id, drop column listen_port, drop column ping_ms, drop column load1, drop column cores, drop column conntrack`

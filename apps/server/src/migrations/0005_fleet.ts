export const up = `
create table vpn_servers (
  id uuid primary key,
  hostname text not null unique check (hostname ~ '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$'),
  country text not null check (length(country) between 1 and 100),
  country_code text not null check (country_code ~ '^[A-Z]{2}$'),
  city text not null check (length(city) between 1 and 100),
  location text not null check (length(location) between 1 and 100),
  latitude double precision check (latitude between -90 and 90),
  longitude double precision check (longitude between -180 and 180),
  ip_address inet not null,
  endpoint text not null check (length(endpoint) between 3 and 260),
  public_key text unique,
  status text not null default 'offline' check (status in ('active', 'maintenance', 'offline')),
  draining boolean not null default false,
  tier text not null default 'free' check (tier in ('free', 'premium')),
  max_connections integer not null default 250 check (max_connections between 1 and 65000),
  seat_balance integer not null default 0,
  bandwidth_download integer check (bandwidth_download > 0),
  bandwidth_upload integer check (bandwidth_upload > 0),
  features text[] not null default '{}',
  streaming_services text[] not null default '{}',
  subnet_v4 cidr not null check (family(subnet_v4) = 4 and masklen(subnet_v4) between 16 and 29),
  subnet_v6 cidr not null check (family(subnet_v6) = 6 and masklen(subnet_v6) between 48 and 112),
  current_load integer not null default 0,
  ping double precision,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint vpn_servers_own_subnet_v4 exclude using gist (subnet_v4 inet_ops with &&),
  constraint vpn_servers_own_subnet_v6 exclude using gist (subnet_v6 inet_ops with &&)
);
comment on column vpn_servers.seat_balance is
  'Above 0: tunnels above a lowered max_connections, so many ends give no seat back. Below 0: seats that came free while no address was in reserve.';

create table enrollment_tokens (
  server_id uuid primary key references vpn_servers on delete cascade,
  hash bytea not null unique,
  expires_at timestamptz not null,
  replaces boolean not null default false,
  created_at timestamptz not null default clock_timestamp()
);

create table nodes (
  id uuid primary key,
  server_id uuid not null unique references vpn_servers on delete cascade,
  identity_key bytea not null unique check (length(identity_key) = 32),
  backend text not null check (backend in ('kernel', 'userspace')),
  agent_version text not null check (length(agent_version) <= 40),
  exit_addresses inet[] not null default '{}',
  warnings text[] not null default '{}',
  enrolled_at timestamptz not null default clock_timestamp(),
  linked_at timestamptz,
  last_seen_at timestamptz
)`

export const down = `
drop table nodes;
drop table enrollment_tokens;
drop table vpn_servers`

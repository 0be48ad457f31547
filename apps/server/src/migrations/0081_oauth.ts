/**
 * OAuth 2.1 and OpenID Connect. What apps may do hangs on a row of `sessions` (kind `oauth`), as with every other way in;
 * the artifacts of the protocol are short-lived and sealed, found by hashes alone.
 */
export const up = `
create table oauth_clients (
  client_id text primary key check (client_id ~ '^[a-z0-9][a-z0-9._-]{2,63}$'),
  name text not null check (length(name) between 1 and 100),
  kind text not null check (kind in ('native', 'web', 'device')),
  redirect_uris text[] not null default '{}' check (cardinality(redirect_uris) <= 20),
  scopes text[] not null check (scopes <@ array['openid', 'email', 'offline_access', 'vpn', 'account', 'staff']),
  shipped boolean not null default false,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint oauth_clients_redirect check ((kind = 'device') = (cardinality(redirect_uris) = 0)),
  constraint oauth_clients_staff_is_ours check (shipped or not ('staff' = any (scopes)))
);
comment on table oauth_clients is 'Public apps: none has a secret. Those that are shipped cannot be changed.';
insert into oauth_clients (client_id, name, kind, scopes, shipped)
values ('prime-cli', 'Prime command line', 'device', '{openid,email,offline_access,vpn,account,staff}', true);

create table oauth_artifacts (
  model text not null check (model in ('Session', 'Interaction', 'Grant', 'AuthorizationCode', 'RefreshToken', 'DeviceCode', 'AccessToken')),
  id_hash bytea not null,
  grant_hash bytea,
  user_code_mac bytea,
  uid_hash bytea,
  payload bytea not null,
  consumed_at timestamptz,
  entered_at timestamptz,
  answered_at timestamptz,
  polled_at timestamptz,
  poll_seconds integer not null default 5,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  primary key (model, id_hash)
);
create index oauth_artifacts_of_grant on oauth_artifacts (grant_hash) where grant_hash is not null;
create unique index oauth_artifacts_by_user_code on oauth_artifacts (user_code_mac) where user_code_mac is not null;
create unique index oauth_artifacts_by_uid on oauth_artifacts (uid_hash) where uid_hash is not null;
create index oauth_artifacts_expired on oauth_artifacts (expires_at);
comment on table oauth_artifacts is 'Codes, refresh tokens, grants and pages under way: sealed, found by the hash of a secret that is not kept.';
comment on column oauth_artifacts.entered_at is 'When somebody typed the user code of this device code in; only one can.';
comment on column oauth_artifacts.answered_at is 'When the device code was allowed or refused: once.';
comment on column oauth_artifacts.poll_seconds is 'How long a device waits between two questions (RFC 8628): five seconds more for each that came too soon.';

create table oauth_grants (
  grant_hash bytea primary key,
  session_id uuid not null unique references sessions on delete cascade,
  client_id text not null references oauth_clients on delete cascade
);
create index oauth_grants_of_client on oauth_grants (client_id);
comment on table oauth_grants is 'Each consent opens a session of its own; its end is the end of everything given under it.'`

export const down = `
drop table oauth_grants;
drop table oauth_artifacts;
drop table oauth_clients`

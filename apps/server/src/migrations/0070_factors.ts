/**
 * Second factors and cookie sessions. A session is read with what its request is judged by: whether staff has a second
 * factor (looked up for staff alone), when it was opened, and the hash of a cookie's random part.
 *
 * Expand: `live_sessions` only gains columns.
 */
export const up = `
create table totp_factors (
  user_id uuid primary key references users on delete cascade,
  sealed bytea not null,
  last_step bigint,
  created_at timestamptz not null default clock_timestamp(),
  enabled_at timestamptz
);
comment on table totp_factors is 'One-time passwords by time (RFC 6238). Not a factor before enabled_at; gone after an hour when never enabled.';
comment on column totp_factors.sealed is 'The secret, sealed under a key outside the database and bound to the user.';
comment on column totp_factors.last_step is 'The newest 30 s step that was used; this one and older are dead.';

create table recovery_codes (
  user_id uuid not null references users on delete cascade,
  hash bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (user_id, hash)
);
comment on table recovery_codes is '120 random bit each, kept as SHA-256; a row goes when its code is used.';

create table passkeys (
  id uuid primary key,
  user_id uuid not null references users on delete cascade,
  credential_id bytea not null unique check (length(credential_id) between 1 and 1023),
  public_key bytea not null,
  sign_count bigint not null default 0,
  transports text[] not null default '{}',
  name text not null check (length(name) between 1 and 100),
  backed_up boolean not null default false,
  created_at timestamptz not null default clock_timestamp(),
  last_used_at timestamptz
);
create index passkeys_of_user on passkeys (user_id);
comment on table passkeys is 'WebAuthn credentials: the public halves.';

alter table sessions add column secret_hash bytea;
comment on column sessions.secret_hash is 'SHA-256 of the random part of a cookie; null for sessions by token.';

create or replace view live_sessions as
select s.id, s.user_id, a.role, a.is_verified, s.must_change_password, s.expires_at,
       a.plan_id, a.tier, a.max_devices, a.max_connections, a.plan_expires_at,
       a.email, a.full_name, a.created_at, a.is_active, a.is_superuser,
       a.plan_type, a.status, a.start_date, a.end_date, a.auto_renew,
       s.kind, s.secret_hash, s.created_at as opened_at, s.last_used_at,
       case when a.role = 'user' then null
            else exists (select from totp_factors f where f.user_id = a.user_id and f.enabled_at is not null)
              or exists (select from passkeys p where p.user_id = a.user_id)
        end as staff_has_factor
  from sessions s
  join account_standings a on a.user_id = s.user_id
 where a.is_active and s.revoked_at is null and s.expires_at > clock_timestamp() and s.idle_expires_at > clock_timestamp()`

export const down = `
drop view live_sessions;
create view live_sessions as
select s.id, s.user_id, a.role, a.is_verified, s.must_change_password, s.expires_at,
       a.plan_id, a.tier, a.max_devices, a.max_connections, a.plan_expires_at,
       a.email, a.full_name, a.created_at, a.is_active, a.is_superuser,
       a.plan_type, a.status, a.start_date, a.end_date, a.auto_renew
  from sessions s
  join account_standings a on a.user_id = s.user_id
 where a.is_active and s.revoked_at is null and s.expires_at > clock_timestamp() and s.idle_expires_at > clock_timestamp();
alter table sessions drop column secret_hash;
drop table passkeys;
drop table recovery_codes;
drop table totp_factors`

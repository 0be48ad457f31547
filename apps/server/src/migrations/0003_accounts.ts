export const up = `
create table users (
  id uuid primary key,
  email text check (length(email) <= 254 and email = btrim(email)),
  hashed_password text,
  full_name text check (length(full_name) <= 200),
  role text not null default 'user' check (role in ('user', 'support', 'admin', 'super_admin')),
  is_active boolean not null default true,
  is_superuser boolean not null generated always as (role in ('admin', 'super_admin')) stored,
  is_verified boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index users_one_per_email on users (lower(email));

create table sessions (
  id uuid primary key,
  user_id uuid not null references users on delete cascade,
  kind text not null check (kind in ('token', 'cookie', 'oauth')),
  device_name text check (length(device_name) <= 100),
  client text check (length(client) <= 200),
  country text check (length(country) = 2),
  must_change_password boolean not null default false,
  created_at timestamptz not null default clock_timestamp(),
  last_used_at timestamptz not null default clock_timestamp(),
  idle_expires_at timestamptz not null,
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create index sessions_of_user on sessions (user_id) where revoked_at is null;

create table refresh_tokens (
  hash bytea primary key,
  session_id uuid not null references sessions on delete cascade,
  created_at timestamptz not null default clock_timestamp(),
  used_at timestamptz,
  successor bytea unique,
  answer bytea
);
comment on column refresh_tokens.answer is 'What the rotation answered, sealed under the old token, so that a lost answer can be fetched again for 10 s.';
create index refresh_tokens_of_session on refresh_tokens (session_id)`

export const down = `
drop table refresh_tokens;
drop table sessions;
drop table users`

/** What an account needs beyond its row: a reason for its state, one-time passwords, mailed tokens and the local outbox. */
export const up = `
alter table users add column status_reason text check (length(status_reason) <= 500);
comment on column users.status_reason is 'Why staff switched the account off or on; shown to staff only.';
create index users_by_created on users (created_at, id);

create table one_time_passwords (
  user_id uuid primary key references users on delete cascade,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);
comment on table one_time_passwords is 'The present password of this account was made by us: it ends, and signing in with it only allows to change it.';

create table pending_emails (
  user_id uuid primary key references users on delete cascade,
  email text not null check (length(email) <= 254),
  requested_at timestamptz not null default clock_timestamp()
);
comment on table pending_emails is 'A new address counts once it is verified.';

create table mail_tokens (
  hash bytea primary key,
  user_id uuid not null references users on delete cascade,
  kind text not null check (kind in ('verify', 'reset', 'change_email')),
  email text not null check (length(email) <= 254),
  code_mac bytea,
  tries smallint not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  code_expires_at timestamptz,
  expires_at timestamptz not null
);
comment on table mail_tokens is 'Made when a mail is sent, gone when used. email is the address the holder proves to own.';
create index mail_tokens_of_user on mail_tokens (user_id, kind, created_at);
create index mail_tokens_by_email on mail_tokens (lower(email)) where code_mac is not null;

create table mail_outbox (
  id uuid primary key,
  to_mac bytea not null,
  sealed bytea not null,
  created_at timestamptz not null default clock_timestamp()
);
comment on table mail_outbox is 'Mails of an installation without SMTP, sealed under a key outside the database, gone after 24 h.';
create index mail_outbox_created on mail_outbox (created_at);

create index refresh_tokens_with_answer on refresh_tokens (session_id) where answer is not null;
comment on index refresh_tokens_with_answer is
  'A session keeps one answer at most, among thousands of used tokens: for each rotation, and small enough for the sweep.';

create view live_sessions as
select s.id, s.user_id, a.role, a.is_verified, s.must_change_password, s.expires_at,
       a.plan_id, a.tier, a.max_devices, a.max_connections, a.plan_expires_at,
       a.email, a.full_name, a.created_at, a.is_active, a.is_superuser,
       a.plan_type, a.status, a.start_date, a.end_date, a.auto_renew
  from sessions s
  join account_standings a on a.user_id = s.user_id
 where a.is_active and s.revoked_at is null and s.expires_at > clock_timestamp() and s.idle_expires_at > clock_timestamp();
comment on view live_sessions is 'The check of every signed-in request: the session alive, its user active, and what its plan allows now.';

create view current_subscriptions as
select user_id, plan_id as plan, plan_type, status, start_date, end_date, auto_renew from account_standings;
comment on view current_subscriptions is 'The subscription that counts, as users see it.';

create view device_lists as
select d.user_id,
       json_agg(json_build_object(
         'id', d.id, 'name', d.name, 'platform', d.platform, 'public_key', d.public_key,
         'last_connected', d.last_connected_at, 'ip_address', host(t.client_ip)) order by d.slot) as devices
  from devices d left join device_tunnels t on t.device_id = d.id
 group by d.user_id;
comment on view device_lists is 'The devices of each user who has one, as GET /users/me shows them.';

create view account_overviews as
select a.user_id as id, a.email, a.full_name, a.role, a.created_at, a.is_active, a.is_superuser, a.is_verified,
       a.plan_id as plan, a.plan_type, a.status, a.start_date, a.end_date, a.auto_renew,
       coalesce((select l.devices from device_lists l where l.user_id = a.user_id), '[]'::json) as devices
  from account_standings a;
comment on view account_overviews is 'An account with its subscription and devices: what GET /users/me shows, in one read.';

create function release_key(p_user uuid, p_key text) returns boolean language plpgsql as $$
begin
  delete from wireguard_keys k
   where k.public_key = p_key and k.user_id = p_user
     and not exists (select from devices d where d.public_key = p_key)
     and not exists (select from connections c where c.user_id = p_user and c.client_public_key = p_key
                        and (c.status = 'connected' or c.leaving_at is not null));
  return found;
end $$;
comment on function release_key(uuid, text) is
  'Forgets who brought a key once neither a device nor a tunnel uses it. Call it under lock_user.'`

export const down = `
drop function release_key(uuid, text);
drop view account_overviews;
drop view device_lists;
drop view current_subscriptions;
drop view live_sessions;
drop index refresh_tokens_with_answer;
drop table mail_outbox;
drop table mail_tokens;
drop table pending_emails;
drop table one_time_passwords;
drop index users_by_created;
alter table users drop column status_reason`

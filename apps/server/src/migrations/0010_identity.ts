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
drop table mail_outbox;
drop table mail_tokens;
drop table pending_emails;
drop table one_time_passwords;
drop index users_by_created;
alter table users drop column status_reason`

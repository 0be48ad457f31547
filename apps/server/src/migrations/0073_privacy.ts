/** What a person may ask for: a copy of what is kept of them, and its end, the erasure. */
export const up = `
create table data_exports (
  id uuid primary key,
  user_id uuid not null unique references users on delete cascade,
  session_id uuid not null,
  sealed bytea,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null default clock_timestamp() + interval '24 hours'
);
comment on table data_exports is 'One per account, the newest. Readable by the session that asked; sealed is null until it is ready.';
create index data_exports_expired on data_exports (expires_at);

alter table users add column erasure_asked_at timestamptz;
comment on column users.erasure_asked_at is 'The row itself goes when it is done, so one that is an hour old has lost its job.';
create index users_erasure_asked on users (erasure_asked_at) where erasure_asked_at is not null;

alter table mail_outbox add column user_id uuid references users on delete cascade;
comment on column mail_outbox.user_id is 'Whose mail it is: it goes with the account, whatever address it went to.';
create index mail_outbox_of_user on mail_outbox (user_id)`

export const down = `
alter table mail_outbox drop column user_id;
alter table users drop column erasure_asked_at;
drop table data_exports`

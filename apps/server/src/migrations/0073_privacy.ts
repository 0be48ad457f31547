/** What a person may ask for: a copy of what is kept of them. Its end, the erasure, needs no table. */
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
create index data_exports_expired on data_exports (expires_at)`

export const down = `drop table data_exports`

export const up = `
create table installation (
  only_one boolean primary key default true check (only_one),
  id uuid not null,
  secrets_fingerprint text,
  created_at timestamptz not null default now()
);
comment on table installation is 'Names this database''s history: node revisions and link proofs are bound to it.';

create table audit_log (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor_id uuid,
  action text not null,
  subject_type text,
  subject_id text,
  fields text[] not null default '{}',
  request_id text
);
comment on table audit_log is 'Append-only. Ids and names of changed fields, never addresses or e-mails.';
create index audit_log_at on audit_log (at);

create table idempotency_marks (
  user_id uuid not null,
  route text not null,
  key_hash bytea not null,
  body_hash bytea not null,
  effect_id uuid,
  claimed_at timestamptz not null default clock_timestamp(),
  created_at timestamptz not null default clock_timestamp(),
  status smallint,
  answer bytea,
  primary key (user_id, route, key_hash)
);
comment on column idempotency_marks.answer is 'The response, sealed under HKDF(server secret, key); the key itself is not kept.';
create index idempotency_marks_created on idempotency_marks (created_at);

do $$ begin
  if exists (select from pg_roles where rolname = 'prime_app') then
    revoke update, delete, truncate on audit_log from prime_app;
  end if;
end $$`

export const down = `
drop table idempotency_marks;
drop table audit_log;
drop table installation`

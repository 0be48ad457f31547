/** Failed passwords in a row, and the code by mail that a closed account's right password needs as well. */
export const up = `
create table sign_in_failures (
  account bytea primary key,
  in_a_row integer not null default 1,
  last_at timestamptz not null default clock_timestamp()
);
comment on table sign_in_failures is 'By a MAC of the address as it was sent, known to us or not: a row tells nothing. Gone a month after the last.';
create index sign_in_failures_last on sign_in_failures (last_at);

alter table mail_tokens drop constraint mail_tokens_kind_check;
alter table mail_tokens add constraint mail_tokens_kind_check check (kind in ('verify', 'reset', 'change_email', 'sign_in'))`

export const down = `
delete from mail_tokens where kind = 'sign_in';
alter table mail_tokens drop constraint mail_tokens_kind_check;
alter table mail_tokens add constraint mail_tokens_kind_check check (kind in ('verify', 'reset', 'change_email'));
drop table sign_in_failures`

/** Accounts whose only credential is a random number: no address, no password. */
export const up = `
alter table users add column account_number_hash bytea;
create unique index users_one_per_account_number on users (account_number_hash);
alter table users add constraint users_anonymous_has_no_address
  check (account_number_hash is null or (email is null and hashed_password is null));
comment on column users.account_number_hash is 'SHA-256 of 130 random bit, shown once.'`

export const down = `
alter table users drop constraint users_anonymous_has_no_address;
drop index users_one_per_account_number;
alter table users drop column account_number_hash`

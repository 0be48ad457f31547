/**
 * Which Stripe the ids of prices and customers are of. With another account, or the other mode, those of the one before
 * mean nothing: they are laid aside and come back with it.
 */
export const up = `
create table billing_home (
  only_one boolean primary key default true check (only_one),
  id text not null check (length(id) <= 255),
  key_mark text not null
);
comment on table billing_home is 'The account and mode of Stripe whose ids stand in plan_prices and billing_customers, by a name of ours.';
comment on column billing_home.key_mark is 'Hash of the key that was used there last: the same key needs no question.';

create table billing_ids_aside (
  home text not null,
  stripe_id text not null,
  price_id uuid references plan_prices on delete cascade,
  customer_id uuid references billing_customers on delete cascade,
  primary key (home, stripe_id),
  check ((price_id is null) <> (customer_id is null))
);
comment on table billing_ids_aside is 'Ids of another account or mode of Stripe, until it is used again.';
create index billing_ids_aside_price on billing_ids_aside (price_id) where price_id is not null;
create index billing_ids_aside_customer on billing_ids_aside (customer_id) where customer_id is not null`

export const down = `
drop table billing_ids_aside;
drop table billing_home`

/**
 * Money (house plan, way 4; docs/decisions/0013). What Stripe says is copied by one reducer; what we are about to ask of
 * Stripe is written down first, so that its idempotency key survives us. Payments join to accounts through
 * `billing_customers` alone, which has a deletion date.
 *
 * Expand: the previous release reads `entitlements` and `current_subscriptions`, whose columns stay.
 */
export const up = `
alter table plans
  add column trial_days integer not null default 0 check (trial_days between 0 and 730),
  add column description text check (length(description) <= 500),
  add column configured_price_id text;
comment on column plans.configured_price_id is 'The price of the environment that was taken last: what staff set after it stays until it names another.';

create table plan_prices (
  id uuid primary key,
  plan_id text not null references plans on delete cascade,
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  amount_minor integer not null check (amount_minor between 1 and 99999999),
  stripe_price_id text unique,
  is_current boolean not null default true,
  created_at timestamptz not null default clock_timestamp()
);
comment on table plan_prices is 'What a plan costs in a currency. A price that changed stays, since running subscriptions keep it.';
create unique index plan_prices_one_current on plan_prices (plan_id, currency) where is_current;
insert into plan_prices (id, plan_id, currency, amount_minor)
  select gen_random_uuid(), id, currency, price_minor from plans where price_minor > 0;

create table billing_customers (
  id uuid primary key,
  user_id uuid unique references users on delete set null,
  stripe_customer_id text unique,
  trial_used_at timestamptz,
  sync_begun bigint not null default 0,
  sync_applied bigint not null default 0,
  acts integer not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  erased_at timestamptz,
  forgotten_at timestamptz,
  delete_after timestamptz
);
comment on table billing_customers is 'The only join between payments and accounts. user_id goes with the account, the row at delete_after.';
comment on column billing_customers.forgotten_at is 'When Stripe deleted its customer, which ends what an erased account pays.';

create table billing_orders (
  id uuid primary key,
  customer_id uuid not null references billing_customers on delete cascade,
  kind text not null check (kind in ('checkout', 'subscribe', 'intent')),
  plan_id text not null references plans on delete cascade,
  wish text not null,
  state text not null default 'open' check (state in ('open', 'processing', 'done', 'dropped')),
  stripe_id text,
  created_at timestamptz not null default clock_timestamp()
);
comment on column billing_orders.state is 'Processing: Stripe began what was ordered, and its first payment, a bank debit, is under way.';
comment on table billing_orders is 'What a customer set out to buy, written before Stripe is asked: its id is the idempotency key.';
create unique index billing_orders_one_open on billing_orders (customer_id) where state = 'open';
create index billing_orders_created on billing_orders (created_at);
create index billing_orders_of_customer on billing_orders (customer_id);

alter table subscriptions
  add column source text not null default 'grant' check (source in ('stripe', 'grant', 'voucher')),
  add column customer_id uuid references billing_customers on delete set null,
  add column stripe_subscription_id text unique,
  add column amount_minor integer check (amount_minor >= 0),
  add column currency text check (currency ~ '^[A-Z]{3}$'),
  add column trial_end timestamptz,
  add column ended_at timestamptz,
  add column acts integer not null default 0;
comment on column subscriptions.acts is 'Counts what we asked Stripe to change; part of the idempotency keys.';
create index subscriptions_of_user on subscriptions (user_id);
create index subscriptions_of_customer on subscriptions (customer_id);
create index subscriptions_in_grace on subscriptions (grace_until) where status = 'past_due' and lapsed_at is null;
create index subscriptions_ending on subscriptions (end_date) where status in ('active', 'past_due');

create table payments (
  id uuid primary key,
  customer_id uuid references billing_customers on delete set null,
  stripe_payment_intent_id text not null unique,
  stripe_charge_id text not null unique,
  stripe_invoice_id text,
  stripe_subscription_id text,
  plan_id text references plans on delete set null,
  amount_minor integer not null check (amount_minor > 0),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  refunded_minor integer not null default 0,
  status text not null check (status in ('paid', 'partially_refunded', 'refunded', 'disputed')),
  paid_at timestamptz not null,
  check (refunded_minor between 0 and amount_minor)
);
create index payments_of_customer on payments (customer_id, paid_at desc);
create index payments_paid_at on payments (paid_at);

create table refunds (
  id uuid primary key,
  payment_id uuid not null references payments on delete cascade,
  customer_id uuid references billing_customers on delete set null,
  stripe_refund_id text unique,
  amount_minor integer not null check (amount_minor > 0),
  reason text not null check (length(reason) <= 500),
  status text not null check (status in ('pending', 'succeeded', 'failed')),
  by_user boolean not null,
  asked_by uuid,
  credit_minor integer check (credit_minor >= 0),
  created_at timestamptz not null default clock_timestamp()
);
comment on column refunds.credit_minor is 'Credit that is taken back beside it, written down before Stripe is asked; null before that.';
create unique index refunds_once_per_account on refunds (customer_id) where by_user and status <> 'failed';
create index refunds_of_payment on refunds (payment_id);
create index refunds_pending on refunds (created_at) where status = 'pending';

create function refund_within_payment() returns trigger language plpgsql as $$
declare
  whole integer;
begin
  select amount_minor into whole from payments where id = new.payment_id for update;
  if (select coalesce(sum(amount_minor), 0) from refunds where payment_id = new.payment_id and status <> 'failed')
     + new.amount_minor > whole then
    raise exception 'more than is left of the payment' using errcode = 'check_violation', constraint = 'refunds_within_payment';
  end if;
  return new;
end $$;
create trigger refunds_within_payment before insert on refunds for each row
  when (new.stripe_refund_id is null) execute function refund_within_payment();
comment on function refund_within_payment() is
  'What we ask for never exceeds the charge, however many ask at once: the payment is locked before the sum is read. '
  'Refunds that were made at Stripe are written down as they are.';

create table invoices (
  id uuid primary key,
  customer_id uuid references billing_customers on delete set null,
  stripe_invoice_id text not null unique,
  stripe_subscription_id text,
  plan_id text references plans on delete set null,
  number text,
  status text not null check (status in ('draft', 'open', 'paid', 'uncollectible', 'void')),
  total_minor integer not null,
  paid_minor integer not null,
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  period_start timestamptz not null,
  period_end timestamptz not null,
  created_at timestamptz not null
);
create index invoices_of_customer on invoices (customer_id, created_at desc);

create table billing_events (
  id text primary key check (length(id) <= 255),
  type text not null,
  object_id text,
  stripe_customer_id text,
  created_at timestamptz not null,
  received_at timestamptz not null default clock_timestamp(),
  applied_at timestamptz
);
comment on table billing_events is 'Webhook events by id; of the payload only what finds the object, for 30 days.';
create index billing_customers_unforgotten on billing_customers (id) where user_id is null and forgotten_at is null;
create index billing_events_unapplied on billing_events (stripe_customer_id) where applied_at is null;
create index billing_events_received on billing_events (received_at);

create table billing_notices (
  key text primary key,
  at timestamptz not null default clock_timestamp()
);
comment on table billing_notices is 'Mails that were queued: each is sent for its cause once.';

create table vouchers (
  id uuid primary key,
  batch_id uuid not null,
  code_hash bytea not null unique,
  plan_id text not null references plans,
  days integer not null check (days between 1 and 3660),
  created_by uuid,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  redeemed_by uuid references users on delete set null,
  redeemed_at timestamptz
);
create index vouchers_of_batch on vouchers (batch_id);
comment on column vouchers.batch_id is 'One for all that a call made.';
comment on column vouchers.code_hash is 'The code itself is shown once.';

create function billing_account_erased() returns trigger language plpgsql as $$
begin
  new.erased_at := clock_timestamp();
  new.delete_after := clock_timestamp() + interval '180 days';
  perform graphile_worker.add_job('billing.forget', json_build_object('customer', new.id));
  return new;
end $$;
create trigger billing_customers_erased before update of user_id on billing_customers for each row
  when (old.user_id is not null and new.user_id is null) execute function billing_account_erased();
comment on function billing_account_erased() is
  'An erased account pays no more. The row stays while a bank may still take a payment back, then it goes.'`

export const down = `
drop table vouchers;
drop table billing_notices;
drop table billing_events;
drop table invoices;
drop table refunds;
drop function refund_within_payment();
drop table payments;
drop index subscriptions_in_grace;
drop index subscriptions_of_customer;
drop index subscriptions_ending;
drop index subscriptions_of_user;
alter table subscriptions
  drop column acts,
  drop column ended_at,
  drop column trial_end,
  drop column currency,
  drop column amount_minor,
  drop column stripe_subscription_id,
  drop column customer_id,
  drop column source;
drop table billing_orders;
drop table billing_customers;
drop function billing_account_erased();
drop table plan_prices;
alter table plans drop column configured_price_id, drop column description, drop column trial_days`

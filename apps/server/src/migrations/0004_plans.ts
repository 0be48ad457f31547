export const up = `
create table plans (
  id text primary key check (id ~ '^[a-z0-9_]{1,64}$'),
  name text not null check (length(name) between 1 and 100),
  tier text not null check (tier in ('free', 'premium')),
  billing_period text not null check (billing_period in ('free', 'monthly', 'yearly')),
  price_minor integer not null check (price_minor >= 0),
  currency text not null default 'USD' check (currency ~ '^[A-Z]{3}$'),
  max_devices integer not null check (max_devices between 0 and 1000),
  max_connections integer not null check (max_connections between 0 and 1000),
  streaming_support boolean not null default false,
  features text[] not null default '{}',
  position integer not null default 0,
  is_active boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

insert into plans (id, name, tier, billing_period, price_minor, max_devices, max_connections, streaming_support, features, position) values
  ('free', 'Free', 'free', 'free', 0, 1, 1, false, '{1_device,free_locations}', 0),
  ('premium_monthly', 'Premium Monthly', 'premium', 'monthly', 999, 5, 5, true, '{unlimited_bandwidth,all_locations,5_devices}', 1),
  ('premium_yearly', 'Premium Yearly', 'premium', 'yearly', 7999, 5, 5, true, '{unlimited_bandwidth,all_locations,5_devices}', 2);

create table subscriptions (
  id uuid primary key,
  user_id uuid not null references users on delete cascade,
  plan_id text not null references plans,
  plan_type text not null check (plan_type in ('monthly', 'yearly', 'free')),
  status text not null check (status in ('active', 'past_due', 'canceled')),
  start_date timestamptz not null default now(),
  end_date timestamptz,
  grace_until timestamptz,
  auto_renew boolean not null default true,
  lapsed_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index subscriptions_one_live on subscriptions (user_id) where status in ('active', 'past_due');
comment on column subscriptions.lapsed_at is 'When grace ended without payment: the row stays past_due, its premium is over.';

create view account_standings as
select u.id as user_id, u.email, u.full_name, u.role, u.created_at, u.is_active, u.is_superuser, u.is_verified,
       p.id as plan_id, p.tier, p.max_devices, p.max_connections, p.streaming_support,
       case when p.id = 'free' then null when s.status = 'past_due' then s.grace_until else s.end_date end as plan_expires_at,
       coalesce(s.plan_type, 'free') as plan_type,
       coalesce(s.status, 'active') as status,
       coalesce(s.start_date, u.created_at) as start_date,
       s.end_date,
       coalesce(s.auto_renew, false) as auto_renew
  from users u
  left join subscriptions s
    on s.user_id = u.id and s.lapsed_at is null
   and ((s.status = 'active' and (s.end_date is null or greatest(s.end_date, s.grace_until) > clock_timestamp()))
     or (s.status = 'past_due' and s.grace_until > clock_timestamp()))
  join plans p on p.id = coalesce(s.plan_id, 'free');
comment on view account_standings is
  'An account and the plan that counts: a live one, else the free one. A plan that renews goes on for its grace while the payment provider is away. The other views of accounts show parts of it.';

create view entitlements as
select user_id, is_active, plan_id, tier, max_devices, max_connections, streaming_support, plan_expires_at as expires_at
  from account_standings;
comment on view entitlements is 'The one answer to what a user may do now.'`

export const down = `
drop view entitlements;
drop view account_standings;
drop table subscriptions;
drop table plans`

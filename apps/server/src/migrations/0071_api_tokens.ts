/** Tokens for automation: named, scoped, with an end. The row goes when one is revoked. */
export const up = `
create table api_tokens (
  id uuid primary key,
  user_id uuid not null references users on delete cascade,
  name text not null check (length(name) between 1 and 100),
  secret_hash bytea not null,
  scopes text[] not null check (cardinality(scopes) > 0 and scopes <@ array['vpn', 'account', 'staff']),
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  last_used_at timestamptz
);
create index api_tokens_of_user on api_tokens (user_id, created_at);
comment on column api_tokens.secret_hash is 'SHA-256 of the random part; the token itself is shown once.';

create view live_api_tokens as
select t.id, t.user_id, t.secret_hash, t.scopes, t.expires_at, t.last_used_at, a.role, a.is_verified,
       a.plan_id, a.tier, a.max_devices, a.max_connections, a.plan_expires_at,
       case when a.role = 'user' then null
            else exists (select from totp_factors f where f.user_id = a.user_id and f.enabled_at is not null)
              or exists (select from passkeys p where p.user_id = a.user_id)
        end as staff_has_factor
  from api_tokens t
  join account_standings a on a.user_id = t.user_id
 where a.is_active and t.expires_at > clock_timestamp();
comment on view live_api_tokens is 'The check of a call by API token: alive, its user active, role and plan as they are now.'`

export const down = `
drop view live_api_tokens;
drop table api_tokens`

export const up = `
create table usage_daily (
  user_id uuid not null references users on delete cascade,
  day date not null,
  server_id uuid not null,
  device_id uuid not null,
  bytes_sent bigint not null default 0 check (bytes_sent >= 0),
  bytes_received bigint not null default 0 check (bytes_received >= 0),
  connections bigint not null default 0 check (connections >= 0),
  duration_seconds bigint not null default 0 check (duration_seconds >= 0),
  primary key (user_id, day, server_id, device_id)
);
comment on table usage_daily is
  'What was used on a day (UTC), kept when the connections are forgotten. The nil UUID: no device, or a server that is gone.';
create index usage_daily_day on usage_daily (day);

alter table connections
  add column daily_sent bigint not null default 0,
  add column daily_received bigint not null default 0,
  add column daily_seconds bigint not null default 0,
  add column daily_counted boolean not null default false,
  add column daily_settled boolean not null default false;
comment on column connections.daily_sent is 'How much of bytes_sent stands in usage_daily already; so with the other daily_ columns.';
comment on column connections.daily_settled is 'The tunnel has ended and all of it stands in usage_daily.';
create index connections_unsettled on connections (id) where not daily_settled;

create view tunnels_shown as
select user_id, id as connection_id, server_id, lease_slot as slot, lease_version as version
  from connections where status = 'connected' and superseded_at is null and server_id is not null;
comment on view tunnels_shown is 'The tunnels a customer sees as active: one that was moved away from is not among them.'`

export const down = `
drop view tunnels_shown;
drop index connections_unsettled;
alter table connections
  drop column daily_sent, drop column daily_received, drop column daily_seconds, drop column daily_counted, drop column daily_settled;
drop table usage_daily`

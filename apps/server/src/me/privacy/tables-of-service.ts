import { nobodys, OWN, type Table } from './table.ts'

/** What the service itself needs. */
export const SERVICE: Record<string, Table> = {
  idempotency_marks: {
    whose: OWN,
    atErasure: 'delete',
    kept: '24 h',
    personal: {},
    sealed: { user_id: 'whose', key_hash: 'of a key', body_hash: 'of a request', answer: 'sealed' },
    other: 'route effect_id claimed_at created_at status',
  },
  audit_log: {
    whose: 'actor_id = $1',
    atErasure: 'keep',
    kept: 'append-only; ids and names of fields, which name nobody once the account is gone',
    personal: { at: 'when', action: 'what staff did', fields: 'names of what was changed' },
    sealed: { actor_id: 'id of who acted', subject_id: 'id of on what' },
    other: 'id subject_type request_id',
  },
  bans: {
    ...nobodys('id kind strikes created_at until', 'until the end of the ban and what repeated ones need'),
    sealed: { network: 'an address that attacks', reason: 'why', created_by: 'id of the staff' },
  },
  billing_events: nobodys('id type object_id created_at received_at applied_at stripe_customer_id', '90 days'),
  billing_home: nobodys('only_one id key_mark'),
  billing_notices: nobodys('key at'),
  enrollment_tokens: nobodys('server_id hash expires_at replaces created_at'),
  installation: nobodys('only_one id secrets_fingerprint created_at'),
  nodes: nobodys(
    'id server_id identity_key backend agent_version exit_addresses warnings enrolled_at linked_at last_seen_at link_id ' +
      'listen_port ping_ms load1 cores conntrack',
  ),
  plan_prices: nobodys('id plan_id currency amount_minor stripe_price_id is_current created_at'),
  plans: nobodys(
    'id name tier billing_period price_minor currency max_devices max_connections streaming_support features position ' +
      'is_active created_at updated_at trial_days description ' +
      'configured_price_id',
  ),
  seat_debts: nobodys('id server_id'),
  vpn_servers: nobodys(
    'id hostname country country_code city location latitude longitude ip_address endpoint public_key status draining tier ' +
      'max_connections seat_balance bandwidth_download bandwidth_upload features streaming_services subnet_v4 subnet_v6 ' +
      'current_load ping created_at updated_at',
  ),
}

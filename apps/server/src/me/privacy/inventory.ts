/**
 * Every table of ours and what of it is personal: the one list that export and erasure work from, and that a test holds
 * against the database. A new column is entered here or the test fails.
 */
export type Table = {
  /** SQL that finds one person's rows, `$1` their id; null where no row is anybody's. */
  whose: string | null
  /**
   * What an erasure does. `cascade`: goes with the row of `users`; `delete`: we delete it first; `unlink`: the reference
   * to the account goes and the rest stays; `mac`: deleted by a MAC of the address; `keep`: names nobody once the account
   * is gone.
   */
  atErasure: 'cascade' | 'delete' | 'unlink' | 'mac' | 'keep'
  /** How long a row stays while the account does. */
  kept: string
  /** Personal columns that the export shows, with the reason to keep them. */
  personal: Record<string, string>
  /** Personal or secret columns that no export shows: hashes, MACs, sealed values. */
  sealed?: Record<string, string>
  /** Columns that say nothing of a person. */
  other: string
}

const OWN = 'user_id = $1'
const PAYER = 'customer_id in (select id from billing_customers where user_id = $1)'
const nobodys = (other: string, kept = 'as long as the service needs it'): Table => ({
  whose: null,
  atErasure: 'keep',
  kept,
  personal: {},
  other,
})

export const INVENTORY: Record<string, Table> = {
  users: {
    whose: 'id = $1',
    atErasure: 'cascade',
    kept: 'until the account is erased',
    personal: {
      id: 'names the account',
      email: 'sign-in and mails',
      full_name: 'shown to the owner and staff; voluntary',
      role: 'what the account may do',
      is_active: 'whether it may sign in',
      is_verified: 'whether the address was proven',
      created_at: 'age of the account',
      updated_at: 'last change',
      status_reason: 'why staff switched it off or on',
    },
    sealed: {
      hashed_password: 'argon2id',
      account_number_hash: 'SHA-256 of the only credential of an anonymous account',
    },
    other: 'is_superuser',
  },
  sessions: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until a day after its end',
    personal: {
      id: 'names the session',
      kind: 'how it was opened',
      device_name: 'so that the owner knows it again',
      client: 'the program, so that the owner knows it again',
      country: 'so that the owner sees a stranger; never an address',
      created_at: 'sign-in',
      last_used_at: 'so that the owner sees a stranger',
      idle_expires_at: 'its end',
      expires_at: 'its end',
      revoked_at: 'its end',
    },
    sealed: { user_id: 'whose', secret_hash: 'of a cookie' },
    other: 'must_change_password',
  },
  refresh_tokens: {
    whose: 'session_id in (select id from sessions where user_id = $1)',
    atErasure: 'cascade',
    kept: 'with the session',
    personal: {},
    sealed: { hash: 'of the token', session_id: 'whose', successor: 'hash', answer: 'sealed, 10 s' },
    other: 'created_at used_at',
  },
  api_tokens: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until revoked, or a month after its end',
    personal: {
      id: 'names the token',
      name: 'so that the owner knows it again',
      scopes: 'what it may do',
      created_at: 'when',
      expires_at: 'its end',
      last_used_at: 'so that the owner sees a stranger',
    },
    sealed: { user_id: 'whose', secret_hash: 'SHA-256' },
    other: '',
  },
  totp_factors: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until switched off',
    personal: { created_at: 'when', enabled_at: 'when' },
    sealed: { user_id: 'whose', sealed: 'the secret', last_step: 'newest used code' },
    other: '',
  },
  recovery_codes: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until used or replaced',
    personal: {},
    sealed: { user_id: 'whose', hash: 'SHA-256' },
    other: 'created_at',
  },
  passkeys: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until removed',
    personal: {
      id: 'names the passkey',
      name: 'so that the owner knows it again',
      transports: 'how the browser reaches it',
      backed_up: 'whether its maker keeps a copy',
      created_at: 'when',
      last_used_at: 'so that the owner sees a stranger',
    },
    sealed: {
      user_id: 'whose',
      credential_id: 'names the key pair',
      public_key: 'its open half',
      sign_count: 'tells copies',
    },
    other: '',
  },
  one_time_passwords: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until the password is changed',
    personal: {},
    sealed: { user_id: 'whose' },
    other: 'created_at expires_at',
  },
  pending_emails: {
    whose: OWN,
    atErasure: 'cascade',
    kept: '2 days',
    personal: { email: 'the wished address', requested_at: 'when' },
    sealed: { user_id: 'whose' },
    other: '',
  },
  mail_tokens: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until used, or an hour after its end',
    personal: { kind: 'what it proves', email: 'what it proves', created_at: 'when', expires_at: 'its end' },
    sealed: { hash: 'of the token', user_id: 'whose', code_mac: 'of the code' },
    other: 'tries code_expires_at',
  },
  mail_outbox: {
    whose: null,
    atErasure: 'mac',
    kept: '24 h; only without a mail server',
    personal: {},
    sealed: { to_mac: 'of the address', sealed: 'the mail' },
    other: 'id created_at',
  },
  sign_in_failures: {
    whose: null,
    atErasure: 'mac',
    kept: '30 days after the last failure, or until a success',
    personal: {},
    sealed: { account: 'MAC of the address as sent' },
    other: 'in_a_row last_at',
  },
  data_exports: {
    whose: OWN,
    atErasure: 'cascade',
    kept: '24 h',
    personal: { id: 'names the export', created_at: 'when' },
    sealed: { user_id: 'whose', session_id: 'who may read it', sealed: 'the export' },
    other: 'expires_at',
  },
  oauth_grants: {
    whose: 'session_id in (select id from sessions where user_id = $1)',
    atErasure: 'cascade',
    kept: 'with its session',
    personal: { client_id: 'which app was let in' },
    sealed: { grant_hash: 'of the grant', session_id: 'whose' },
    other: '',
  },
  oauth_artifacts: {
    whose: `grant_hash in (select g.grant_hash from oauth_grants g join sessions s on s.id = g.session_id where s.user_id = $1)`,
    atErasure: 'delete',
    kept: 'until its end',
    personal: {},
    sealed: {
      id_hash: 'of a secret',
      grant_hash: 'of the grant',
      user_code_mac: 'of a typed code',
      uid_hash: 'of a page under way',
      payload: 'sealed',
    },
    other: 'model consumed_at polled_at poll_seconds created_at expires_at',
  },
  oauth_clients: nobodys('client_id name kind redirect_uris scopes shipped created_at updated_at'),
  devices: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until removed',
    personal: {
      id: 'names the device',
      name: 'so that the owner knows it again',
      platform: 'which app and instructions fit',
      public_key: 'the tunnel',
      last_connected_at: 'so that the owner sees a stranger',
      created_at: 'when',
      updated_at: 'last change',
      key_changed_at: 'age of the key',
    },
    sealed: { user_id: 'whose' },
    other: 'slot',
  },
  device_subscriptions: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until revoked or replaced',
    personal: { device_id: 'whose conf', public_key: 'the tunnel', created_at: 'when' },
    sealed: { user_id: 'whose', token_hash: 'of the secret address', private_key: 'sealed under the secret address' },
    other: '',
  },
  wireguard_keys: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'while a device or tunnel uses it',
    personal: { public_key: 'so that no key serves two accounts', created_at: 'when' },
    sealed: { user_id: 'whose' },
    other: '',
  },
  connections: {
    whose: OWN,
    atErasure: 'cascade',
    kept: '30 days after its end, then as sums of days',
    personal: {
      id: 'names the tunnel',
      server_id: 'where',
      device_id: 'which device',
      client_ip: 'the address inside the tunnel; never the own one',
      client_ipv6: 'the address inside the tunnel',
      client_public_key: 'the peer',
      status: 'whether it lives',
      end_reason: 'why it ended',
      bytes_sent: 'shown to the owner',
      bytes_received: 'shown to the owner',
      client_bytes_sent: 'what the app counted',
      client_bytes_received: 'what the app counted',
      peak_bytes_per_second: 'shown to the owner',
      last_handshake_at: 'whether it is idle',
      started_at: 'shown to the owner',
      ended_at: 'shown to the owner',
    },
    sealed: { user_id: 'whose' },
    other:
      'user_slot lease_slot lease_version kept_at superseded_by superseded_at superseded_until leaving_at counter_epoch ' +
      'base_sent base_received reported_at totals_final created_at updated_at daily_sent daily_received daily_seconds ' +
      'daily_counted daily_settled',
  },
  leases: {
    ...nobodys(
      'server_id slot state connection_id last_connection_id free_at version changed_xid',
      'a row per address',
    ),
    whose: 'connection_id in (select id from connections where user_id = $1)',
    sealed: { public_key: 'the peer while it holds the address', preshared_key: 'sealed' },
  },
  usage_daily: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until the account is erased',
    personal: {
      day: 'shown to the owner',
      server_id: 'shown to the owner',
      device_id: 'shown to the owner',
      bytes_sent: 'shown to the owner',
      bytes_received: 'shown to the owner',
      connections: 'shown to the owner',
      duration_seconds: 'shown to the owner',
    },
    sealed: { user_id: 'whose' },
    other: '',
  },
  subscriptions: {
    whose: OWN,
    atErasure: 'cascade',
    kept: 'until the account is erased',
    personal: {
      id: 'names the subscription',
      plan_id: 'what was bought',
      plan_type: 'what was bought',
      status: 'whether it counts',
      start_date: 'when',
      end_date: 'until when',
      grace_until: 'until when',
      auto_renew: 'whether it goes on',
      source: 'how it came',
      amount_minor: 'price',
      currency: 'price',
      trial_end: 'until when',
      ended_at: 'when',
      lapsed_at: 'when',
      created_at: 'when',
      updated_at: 'last change',
    },
    sealed: { user_id: 'whose', customer_id: 'whose', stripe_subscription_id: 'name at Stripe' },
    other: 'acts',
  },
  billing_customers: {
    whose: OWN,
    atErasure: 'unlink',
    kept: '180 days after the account, while a bank may take a payment back',
    personal: { id: 'joins payments to the account', trial_used_at: 'one trial each', created_at: 'when' },
    sealed: { user_id: 'whose', stripe_customer_id: 'name at Stripe' },
    other: 'sync_begun sync_applied acts delete_after',
  },
  billing_orders: {
    whose: PAYER,
    atErasure: 'unlink',
    kept: 'with the payer',
    personal: { id: 'names the order', kind: 'how', plan_id: 'what', state: 'whether it is done', created_at: 'when' },
    sealed: { customer_id: 'whose', wish: 'hash of what was asked', stripe_id: 'name at Stripe' },
    other: 'attempts',
  },
  payments: {
    whose: PAYER,
    atErasure: 'unlink',
    kept: 'as long as the law asks for books',
    personal: {
      id: 'names the payment',
      plan_id: 'what for',
      amount_minor: 'how much',
      currency: 'how much',
      refunded_minor: 'how much came back',
      status: 'whether it was paid',
      paid_at: 'when',
    },
    sealed: {
      customer_id: 'whose',
      stripe_payment_intent_id: 'name at Stripe',
      stripe_charge_id: 'name at Stripe',
      stripe_invoice_id: 'name at Stripe',
      stripe_subscription_id: 'name at Stripe',
    },
    other: '',
  },
  invoices: {
    whose: PAYER,
    atErasure: 'unlink',
    kept: 'as long as the law asks for books',
    personal: {
      id: 'names the invoice',
      plan_id: 'what for',
      number: 'of the books',
      status: 'whether it is paid',
      total_minor: 'how much',
      paid_minor: 'how much',
      currency: 'how much',
      period_start: 'for when',
      period_end: 'for when',
      created_at: 'when',
    },
    sealed: {
      customer_id: 'whose',
      stripe_invoice_id: 'name at Stripe',
      stripe_subscription_id: 'name at Stripe',
    },
    other: '',
  },
  refunds: {
    whose: PAYER,
    atErasure: 'unlink',
    kept: 'as long as the law asks for books',
    personal: {
      id: 'names the refund',
      payment_id: 'of what',
      amount_minor: 'how much',
      reason: 'as it was given',
      status: 'whether it came',
      created_at: 'when',
    },
    sealed: { customer_id: 'whose', stripe_refund_id: 'name at Stripe', asked_by: 'id of who asked' },
    other: 'by_user',
  },
  vouchers: {
    whose: 'redeemed_by = $1',
    atErasure: 'unlink',
    kept: 'as long as the service needs it',
    personal: { plan_id: 'what', days: 'how long', redeemed_at: 'when' },
    sealed: { redeemed_by: 'whose', created_by: 'id of the staff', code_hash: 'of the code' },
    other: 'id created_at expires_at',
  },
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
      'is_active created_at updated_at trial_days description',
  ),
  seat_debts: nobodys('id server_id'),
  vpn_servers: nobodys(
    'id hostname country country_code city location latitude longitude ip_address endpoint public_key status draining tier ' +
      'max_connections seat_balance bandwidth_download bandwidth_upload features streaming_services subnet_v4 subnet_v6 ' +
      'current_load ping created_at updated_at',
  ),
}

/** All columns the inventory knows of a table. */
export const columnsOf = ({ personal, sealed = {}, other }: Table): string[] => [
  ...Object.keys(personal),
  ...Object.keys(sealed),
  ...other.split(' ').filter(Boolean),
]

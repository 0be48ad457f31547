import { nobodys, OWN, type Table } from './table.ts'

/** Devices, tunnels, and what went through them. */
export const TUNNELS: Record<string, Table> = {
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
  unsettled_keys: {
    whose: 'device_id in (select id from devices where user_id = $1)',
    atErasure: 'cascade',
    kept:
      'until a server took the new key, seconds; where the answer was lost: of a key made here a minute, of one the device ' +
      'brought until it connects or brings one again',
    personal: {},
    sealed: {
      device_id: 'which device',
      previous_key: 'its key before',
      rekeyed: 'which tunnel',
      rekeyed_psk: 'sealed',
    },
    other: 'previous_changed_at generated changed_at',
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
}

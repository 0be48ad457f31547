import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isAtLeast, isPermission, permissionsOf, ROLES, type Permission, type Role } from './permissions.ts'

/** The contract's table (api.md, section 2, 'Roles'), written out once more so that a slip on either side shows. */
const FIRST: Record<Permission, Role> = {
  'me:read': 'user',
  'me:write': 'user',
  'me:secure': 'user',
  'devices:read': 'user',
  'devices:write': 'user',
  'vpn:use': 'user',
  'servers:read': 'user',
  'usage:read': 'user',
  'billing:use': 'user',
  'users:read': 'support',
  'connections:read': 'support',
  'payments:read': 'support',
  'servers:admin-read': 'support',
  'dashboard:read': 'support',
  'servers:write': 'admin',
  'users:write': 'admin',
  'bans:write': 'admin',
  'plans:write': 'admin',
  'audit:read': 'admin',
  'limits:write': 'admin',
  'revenue:read': 'admin',
  'roles:write': 'super_admin',
  'mail:read': 'super_admin',
  'oauth-clients:write': 'super_admin',
}

test('each role holds exactly its permissions: its own and those of the roles below', () => {
  for (const role of ROLES) {
    const due = Object.entries(FIRST)
      .filter(([, first]) => isAtLeast(role, first))
      .map(([permission]) => permission)
    assert.deepEqual([...permissionsOf(role)].toSorted(), due.toSorted(), role)
  }
})

test('a role or permission nobody knows opens nothing', () => {
  assert.throws(() => permissionsOf('root' as Role))
  assert.throws(() => permissionsOf('__proto__' as Role))
  for (const text of ['', 'public', 'toString', '__proto__', 'users:*', 'USERS:READ'])
    assert.equal(isPermission(text), false)
})

export { emailKey, parseEmail } from './email.ts'
export { endAccess, type AccessEnd, type EndReason } from './ends.ts'
export {
  isAtLeast,
  isPermission,
  isStaff,
  permissionsOf,
  ROLES,
  scopedPermissions,
  SCOPES,
  type Permission,
  type Role,
  type Scope,
} from './permissions.ts'
export { accountRoutes, type AccountRoutesDeps } from './routes.ts'
export { assertSuperAdminRemains } from './staff.ts'
export { AccountView, FullName, KnownEmail, NewEmail, RoleName } from './schemas.ts'
export {
  accountById,
  anySuperAdmin,
  credentialsByAccountNumber,
  credentialsByEmail,
  credentialsById,
  holderOf,
  insertAccount,
  insertAnonymous,
  lockCredentials,
  setEmail,
  setFullName,
  setPassword,
  setVerified,
  type Credentials,
  type NewAccount,
} from './store.ts'

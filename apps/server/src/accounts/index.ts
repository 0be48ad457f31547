export { isAtLeast, isPermission, isStaff, permissionsOf, ROLES, type Permission, type Role } from './permissions.ts'

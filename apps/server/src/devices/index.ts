/** A customer's devices and their keys. */
export { addDevice, DeviceLimitReached, KeyInUse } from './add.ts'
export { nextRotationAt, replaceKey } from './key.ts'
export { endDevices, removeDevice } from './remove.ts'
export { Device, deviceRoutes, PublicKey, type DeviceRoutesDeps } from './routes.ts'
export { claimKey, deviceById, lockUser, releaseKey, type DeviceView, type NewDevice } from './store.ts'

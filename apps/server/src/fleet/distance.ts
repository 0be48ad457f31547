/** A point on the Earth in degrees. */
export type Place = { latitude: number; longitude: number }

/** Mean radius in km (IUGG). */
const EARTH_KM = 6371.0088
const RADIANS = Math.PI / 180

/** The point as a vector of length 1: the dot product of two is the cosine of the angle between them. */
export function unitVector({ latitude, longitude }: Place): [number, number, number] {
  const phi = latitude * RADIANS
  const lambda = longitude * RADIANS
  return [Math.cos(phi) * Math.cos(lambda), Math.cos(phi) * Math.sin(lambda), Math.sin(phi)]
}

/** The angle in radians that `km` span on the ground. */
export const angleOf = (km: number): number => km / EARTH_KM

/** Great-circle distance in km by the haversine formula, exact also for near points (R. W. Sinnott, 1984). */
export function haversineKm(a: Place, b: Place): number {
  const dPhi = ((b.latitude - a.latitude) * RADIANS) / 2
  const dLambda = ((b.longitude - a.longitude) * RADIANS) / 2
  const h =
    Math.sin(dPhi) ** 2 + Math.cos(a.latitude * RADIANS) * Math.cos(b.latitude * RADIANS) * Math.sin(dLambda) ** 2
  return 2 * EARTH_KM * Math.asin(Math.min(1, Math.sqrt(h)))
}

import type { InjectOptions } from 'fastify'
import type { Kit } from './kit.ts'

export const A = '198.51.100.7'
export const B = '203.0.113.9'

export const get = (url: string, remoteAddress = A, headers = {}): InjectOptions => ({
  method: 'GET',
  url,
  remoteAddress,
  headers,
})
export const login = (email: string, remoteAddress = A, url = '/api/v1/auth/login'): InjectOptions => ({
  method: 'POST',
  url,
  remoteAddress,
  payload: { email },
})
export const as = (user: string) => ({ authorization: `Bearer ${user}` })

export async function admittedOf(kit: Kit, n: number, request: (i: number) => InjectOptions): Promise<number> {
  let admitted = 0
  for (let i = 0; i < n; i++) if ((await kit.send(request(i))).status !== 429) admitted++
  return admitted
}

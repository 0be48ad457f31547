import type { FastifyRequest } from 'fastify'
import type { Sql } from '../../platform/db/index.ts'
import type { Protection } from '../protection.ts'

export type AdminProtectionDeps = {
  protection: Protection
  db: Sql
  callerOf: (req: FastifyRequest) => { userId: string }
}

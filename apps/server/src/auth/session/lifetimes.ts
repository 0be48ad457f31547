import { isStaff, type Role } from '../../accounts/index.ts'
import type { Config } from '../../platform/config/index.ts'

const HOUR_S = 3_600
const DAY_S = 24 * HOUR_S
const ABSOLUTE_DAYS = 90

/** Seconds a session lives without being refreshed, and at most. */
export type Lifetimes = { idleSeconds: number; absoluteSeconds: number }

/** 30 days idle (REFRESH_TOKEN_EXPIRE_DAYS) and 90 absolute; staff one hour and a day (NIST 800-63B, AAL2). */
export function lifetimesOf(role: Role, config: Pick<Config, 'REFRESH_TOKEN_EXPIRE_DAYS'>): Lifetimes {
  if (isStaff(role)) return { idleSeconds: HOUR_S, absoluteSeconds: DAY_S }
  return { idleSeconds: config.REFRESH_TOKEN_EXPIRE_DAYS * DAY_S, absoluteSeconds: ABSOLUTE_DAYS * DAY_S }
}

/** A session that may only change the password does not have to live long. */
export const PASSWORD_CHANGE_ONLY: Lifetimes = { idleSeconds: HOUR_S, absoluteSeconds: HOUR_S }

import { z } from 'zod'
import { Id, plainText, Time } from '../platform/http/index.ts'
import { parseEmail } from './email.ts'
import { ROLES } from './permissions.ts'

const MAX_INPUT = 508

/** An address to register: strict, trimmed, with a real domain. */
export const NewEmail = z
  .string()
  .max(MAX_INPUT)
  .transform((text, context): string => {
    const email = parseEmail(text)
    if (email !== null) return email
    context.addIssue({ code: 'custom', message: 'must be an e-mail address such as name@example.com' })
    return z.NEVER
  })
  .meta({ description: 'Trimmed; unique without regard to case; ASCII local part, at most 254 characters.' })

/** An address to look up: as `NewEmail`, and `name@localhost`. */
export const KnownEmail = z
  .string()
  .max(MAX_INPUT)
  .transform((text, context): string => {
    const email = parseEmail(text, { localhost: true })
    if (email !== null) return email
    context.addIssue({ code: 'custom', message: 'must be an e-mail address' })
    return z.NEVER
  })

export const FullName = plainText(1, 200)
export const RoleName = z.enum(ROLES)

/** An account as its owner and staff see it. */
export const AccountView = z.object({
  id: Id,
  email: z.string().nullable(),
  full_name: z.string().nullable(),
  role: RoleName,
  created_at: Time,
  is_active: z.boolean(),
  is_superuser: z.boolean(),
  is_verified: z.boolean(),
})
export type AccountView = z.infer<typeof AccountView>

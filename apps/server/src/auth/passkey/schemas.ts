import { z } from 'zod'
import { Id, plainText, Time } from '../../platform/http/index.ts'

const Base64Url = z.string().regex(/^[\w-]+$/, 'must be base64url')
const LONGEST_ID = 1_400
const LONGEST_PART = 32_768

/** The objects browsers make grow new fields with time; those we do not know are left alone. */
const credential = <T extends z.ZodRawShape>(response: T) =>
  z.looseObject({
    id: Base64Url.max(LONGEST_ID),
    rawId: Base64Url.max(LONGEST_ID),
    type: z.literal('public-key'),
    response: z.looseObject({ clientDataJSON: Base64Url.max(LONGEST_PART), ...response }),
  })

export const NewCredential = credential({
  attestationObject: Base64Url.max(LONGEST_PART),
  transports: z
    .array(z.string().regex(/^[a-z-]{1,20}$/))
    .max(10)
    .optional(),
})
export type NewCredential = z.infer<typeof NewCredential>

export const Assertion = credential({
  authenticatorData: Base64Url.max(LONGEST_PART),
  signature: Base64Url.max(LONGEST_PART),
  userHandle: Base64Url.max(128).nullable().optional(),
})
export type Assertion = z.infer<typeof Assertion>

export const PasskeyName = plainText(1, 100)

export const PasskeyView = z.object({
  id: Id,
  name: z.string(),
  backed_up: z.boolean().meta({ description: 'its maker keeps a copy for other devices' }),
  created_at: Time,
  last_used_at: Time.nullable(),
})

const Described = z.object({
  type: z.literal('public-key'),
  id: z.string(),
  transports: z.array(z.string()).optional(),
})

/** `PublicKeyCredentialCreationOptionsJSON` of WebAuthn level 3. */
export const CreationOptions = z.object({
  challenge: z.string(),
  rp: z.object({ id: z.string(), name: z.string() }),
  user: z.object({ id: z.string(), name: z.string(), displayName: z.string() }),
  pubKeyCredParams: z.array(z.object({ type: z.literal('public-key'), alg: z.int() })),
  timeout: z.int(),
  excludeCredentials: z.array(Described),
  authenticatorSelection: z.object({
    residentKey: z.string(),
    requireResidentKey: z.boolean(),
    userVerification: z.string(),
  }),
  attestation: z.string(),
})
export type CreationOptions = z.infer<typeof CreationOptions>

/** `PublicKeyCredentialRequestOptionsJSON`; it names no passkey, so it tells nothing of any account. */
export const RequestOptions = z.object({
  challenge: z.string(),
  rpId: z.string(),
  timeout: z.int(),
  userVerification: z.string(),
})
export type RequestOptions = z.infer<typeof RequestOptions>

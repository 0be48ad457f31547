/** Bytes of a request's line and headers: above it the connection ends, so no part of a path is longer. */
export const MAX_HEADER_SIZE = 16 * 1024

/** What answers at the root alone; everything else below the root is an alias of the same path below `/api/v1`. */
const ROOT =
  /^\/(?:$|\?|(?:health|docs|redoc|openapi\.json|favicon\.ico|apple-touch-icon[a-z0-9-]*\.png|robots\.txt|metrics|\.well-known|oauth|sub|app|api)(?:[/?]|$))/

/**
 * The one path a request stands for: absolute-form targets lose their origin, doubled slashes count once, and early
 * clients' `/vpn/connect` is `/api/v1/vpn/connect`. Done before routing, so that guards hang on one route whatever the
 * spelling.
 */
export function canonicalTarget(target: string): string {
  const path = target.startsWith('/') ? target : target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '') || '/'
  const [before = '/', ...query] = path.split('?')
  const single = before.replace(/\/{2,}/g, '/')
  const rest = query.length > 0 ? `?${query.join('?')}` : ''
  return ROOT.test(single + rest) ? single + rest : `/api/v1${single}${rest}`
}

const LOOPBACK = new Set(['127.0.0.1', '[::1]'])

/** Where passkeys of this installation are good. */
export type RelyingParty = {
  /** A domain: browsers make no passkey for a bare address, so that a trial on one's own machine is `localhost`. */
  id: string
  origins: string[]
}

export function relyingParty(publicUrl: string): RelyingParty {
  const { origin, hostname, protocol, port } = new URL(publicUrl)
  if (!LOOPBACK.has(hostname)) return { id: hostname, origins: [origin] }
  return { id: 'localhost', origins: [origin, `${protocol}//localhost${port ? `:${port}` : ''}`] }
}

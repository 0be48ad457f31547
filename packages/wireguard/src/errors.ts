/** The one family of errors thrown here. Messages hold no key, no address and nothing a user wrote. */
export class WireguardError extends Error {
  readonly code: string
  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause })
    this.name = new.target.name
    this.code = code
  }
}

/** A value is not what its field needs; `field` names it, the value itself is not repeated. */
export class InvalidValue extends WireguardError {
  readonly field: string
  constructor(field: string, wanted: string) {
    super('INVALID_VALUE', `${field}: ${wanted}`)
    this.field = field
  }
}

export type UnavailableReason =
  /** There is no usable /dev/net/tun. */
  | 'no-tun'
  /** The process lacks CAP_NET_ADMIN or may not open a file it needs. */
  | 'no-permission'
  /** A program (`ip`, `wg`, `wireguard-go`) is not installed. */
  | 'no-tool'
  /** The kernel has no WireGuard. */
  | 'no-kernel-support'
  /** Something else holds the interface's name or its control socket. */
  | 'name-taken'
  /** wireguard-go ended or did not answer in time. */
  | 'not-started'

/** This machine cannot carry a WireGuard interface as asked; `reason` says what is missing. */
export class WireguardUnavailable extends WireguardError {
  readonly reason: UnavailableReason
  constructor(reason: UnavailableReason, message: string, cause?: unknown) {
    super('WIREGUARD_UNAVAILABLE', message, cause)
    this.reason = reason
  }
}

/** WireGuard or a tool refused an order. A batch may be half applied: compare with `dump()`. */
export class DriverFailed extends WireguardError {
  constructor(message: string, cause?: unknown) {
    super('DRIVER_FAILED', message, cause)
  }
}

/** A handshake got no valid answer: wrong keys, nobody there, or a datagram that does not verify. */
export class HandshakeFailed extends WireguardError {
  constructor(message: string, cause?: unknown) {
    super('HANDSHAKE_FAILED', message, cause)
  }
}

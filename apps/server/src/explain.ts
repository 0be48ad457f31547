type SystemError = Partial<NodeJS.ErrnoException> & { port?: number; address?: string }

/** Why the port could not be taken, and what to do. */
function listening({ code, port, address }: SystemError): string | undefined {
  if (code === 'EADDRINUSE')
    return `Port ${port} on ${address} is taken by another program. Stop it, or choose another: PORT=8001 npm start`
  if (code === 'EACCES') return `Port ${port} needs more rights. Choose one above 1023: PORT=8000 npm start`
  if (code === 'EADDRNOTAVAIL') return `${address} is not an address of this machine. Set HOST to one of its own.`
  return undefined
}

/** What is wrong with a file or folder of the configuration (DATA_DIR, SECRETS_FILE). */
function filing({ code, path }: SystemError): string | undefined {
  if (path === undefined) return undefined
  if (code === 'EEXIST' || code === 'ENOTDIR')
    return `${path} is a file where a folder is needed. Set another DATA_DIR.`
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return `${path} cannot be written by this user. Give it the right, or set another DATA_DIR.`
  return undefined
}

/** Why the service did not start, in words for the terminal. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const known = (error as SystemError).syscall === 'listen' ? listening(error) : filing(error)
  return known ?? error.message
}

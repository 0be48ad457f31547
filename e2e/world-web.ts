/** The host beyond the NAT: answers on IPv4 and IPv6. */
import { createServer } from 'node:http'

const chunk = Buffer.alloc(64 * 1024, 'x')

createServer((req, res) => {
  req.resume()
  const wanted = /^\/bytes\/(\d+)$/.exec(req.url ?? '')?.[1]
  if (wanted === undefined) {
    req.on('end', () => res.end(`${(req.socket.remoteAddress ?? '').replace('::ffff:', '')}\n`))
    return
  }
  let left = Number(wanted)
  res.writeHead(200, { 'content-length': left })
  const more = (): void => {
    while (left > 0) {
      const piece = chunk.subarray(0, Math.min(left, chunk.length))
      left -= piece.length
      if (!res.write(piece)) return void res.once('drain', more)
    }
    res.end()
  }
  more()
}).listen(80, '::')

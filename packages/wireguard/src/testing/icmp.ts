import { parseAddress } from '../addresses.ts'

/** An IPv4 packet with an ICMP echo request (RFC 791, 792); 28 bytes and the text. */
export function echoRequest(from: string, to: string, text: string): Uint8Array {
  const packet = Buffer.alloc(28 + text.length)
  packet.writeUInt8(0x45, 0)
  packet.writeUInt16BE(packet.length, 2)
  packet.writeUInt8(64, 8) // hops
  packet.writeUInt8(1, 9) // ICMP
  packet.writeUInt32BE(Number(parseAddress(from).value), 12)
  packet.writeUInt32BE(Number(parseAddress(to).value), 16)
  packet.writeUInt16BE(checksum(packet.subarray(0, 20)), 10)
  packet.writeUInt8(8, 20) // echo request
  packet.write(text, 28, 'latin1')
  packet.writeUInt16BE(checksum(packet.subarray(20)), 22)
  return packet
}

/** True when a packet is an echo reply that brings the text back. */
export const isEchoReply = (packet: Uint8Array, text: string): boolean =>
  packet[20] === 0 && Buffer.from(packet.subarray(28)).toString('latin1') === text

/** The internet checksum: RFC 1071. */
function checksum(bytes: Buffer): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes.readUInt8(i) << 8) | (bytes[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

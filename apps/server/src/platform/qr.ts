import encodeQR from 'qr'

/** Text as a QR code: an SVG that scales, black on white, with the quiet zone scanners need. @throws over 2,900 bytes */
export const qrSvg = (text: string): string => encodeQR(text, 'svg', { ecc: 'medium', border: 4 })

/** The same as a `data:` URL for an `img`. */
export const qrDataUrl = (text: string): string =>
  `data:image/svg+xml;base64,${Buffer.from(qrSvg(text)).toString('base64')}`

type Waiting<Key, Row> = { key: Key; resolve: (row: Row | undefined) => void; reject: (error: unknown) => void }

/** A statement reads so many keys at most; what is above goes into a next one, on another connection. */
const LARGEST = 100

/**
 * Makes one statement of the equal reads that one turn of the event loop asks for: under load a round trip is shared,
 * alone a read waits for nothing but the end of its turn. Each read is sent after it was asked for, so it sees what was
 * committed until then.
 * @param readAll answers a row or undefined for each key, in their order
 */
export function batched<Key, Row>(
  readAll: (keys: Key[]) => Promise<readonly (Row | undefined)[]>,
): (key: Key) => Promise<Row | undefined> {
  let waiting: Waiting<Key, Row>[] = []
  const send = async (batch: Waiting<Key, Row>[]): Promise<void> => {
    try {
      const rows = await readAll(batch.map(({ key }) => key))
      for (const [i, { resolve }] of batch.entries()) resolve(rows[i])
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }
  const sendAll = () => {
    const all = waiting
    waiting = []
    for (let from = 0; from < all.length; from += LARGEST) void send(all.slice(from, from + LARGEST))
  }
  return (key) =>
    new Promise((resolve, reject) => {
      if (waiting.push({ key, resolve, reject }) === 1) setImmediate(sendAll)
    })
}

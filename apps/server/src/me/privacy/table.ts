/** What a table of ours holds of a person. */
export type Table = {
  /** SQL that finds one person's rows, `$1` their id; null where no row is anybody's. */
  whose: string | null
  /**
   * What an erasure does. `cascade`: goes with the row of `users`; `delete`: we delete it first; `unlink`: the reference
   * to the account goes and the rest stays; `mac`: deleted by a MAC of the address; `keep`: names nobody once the account
   * is gone.
   */
  atErasure: 'cascade' | 'delete' | 'unlink' | 'mac' | 'keep'
  /** How long a row stays while the account does. */
  kept: string
  /** Personal columns that the export shows, with the reason to keep them. */
  personal: Record<string, string>
  /** Personal or secret columns that no export shows: hashes, MACs, sealed values. */
  sealed?: Record<string, string>
  /** Columns that say nothing of a person. */
  other: string
}

/** Rows with a `user_id`. */
export const OWN = 'user_id = $1'

/** A table that says nothing of a person. */
export const nobodys = (other: string, kept = 'as long as the service needs it'): Table => ({
  whose: null,
  atErasure: 'keep',
  kept,
  personal: {},
  other,
})

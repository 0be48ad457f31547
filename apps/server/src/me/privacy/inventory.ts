import type { Table } from './table.ts'
import { MONEY } from './tables-of-money.ts'
import { SERVICE } from './tables-of-service.ts'
import { SIGN_IN } from './tables-of-sign-in.ts'
import { TUNNELS } from './tables-of-tunnels.ts'

/**
 * Every table of ours and what of it is personal: the one list that export and erasure work from, and that a test holds
 * against the database. A new column is entered here or the test fails.
 */
export const INVENTORY: Record<string, Table> = { ...SIGN_IN, ...TUNNELS, ...MONEY, ...SERVICE }

/** All columns the inventory knows of a table. */
export const columnsOf = ({ personal, sealed = {}, other }: Table): string[] => [
  ...Object.keys(personal),
  ...Object.keys(sealed),
  ...other.split(' ').filter(Boolean),
]

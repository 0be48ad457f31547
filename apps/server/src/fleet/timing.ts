/** Nodes' links are noted at least this often by the room that holds them. */
export const HEARTBEAT_S = 10
/** A link whose heartbeat is older is not believed: its instance died. Two beats and a half. */
export const LINK_FRESH_S = 25
/** For so long no sign of a node: offline (api.md, section 3). */
export const OFFLINE_AFTER_S = 60
/** A node's addresses are where many customers come from while its link was up within so long (api.md, section 7). */
export const EXIT_FRESH_S = 600
/** Between two looks at those addresses. */
export const EXITS_MS = 5_000
/** Between two looks at the counts; longer when a look takes long. */
export const REFRESH_MS = 1_000
/** At most a twentieth of the time is spent looking. */
export const REFRESH_SHARE = 20
/** A look that somebody's change asked for comes after so many times what a look takes: milliseconds on small fleets. */
export const NOTICE_SHARE = 3
/** Between two rounds that write status, load and ping into the table. */
export const SETTLE_MS = 10_000

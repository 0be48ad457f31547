export const up = `
create view lease_changes as select server_id, changed_xid from leases;
comment on view lease_changes is 'When something changed for a node: what the room that holds the links may know of leases.'`

export const down = `drop view lease_changes`

/** The channel to the agents: desired state out, acknowledgements and reports in. */
export { createNodeLinks, type NodeLinks, type NodeLinksDeps } from './node-links.ts'
export type { DesiredState, NodeRegistry, NodeReport, ReportListener } from './types.ts'

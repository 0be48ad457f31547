/** A short code, told to the control plane too, and for people a sentence and what to do. */
export type Finding = { code: string; what: string; remedy: string }

const TEXTS = {
  no_nft: ['nft is not installed', 'apt-get install nftables'],
  no_ip: ['ip is not installed', 'apt-get install iproute2'],
  no_conntrack: [
    'conntrack is not installed: flows of removed customers cannot be forgotten',
    'apt-get install conntrack',
  ],
  no_wg: ['wg is not installed, which the kernel backend needs', 'apt-get install wireguard-tools'],
  no_wireguard: [
    'neither kernel WireGuard nor a usable wireguard-go is here',
    'modprobe wireguard, or apt-get install wireguard-go and allow /dev/net/tun',
  ],
  no_net_admin: ['CAP_NET_ADMIN is missing', 'run as root or by the unit deploy/node/prime-node.service'],
  old_kernel: [
    'this kernel lacks the fix of CVE-2024-26951 in WireGuard',
    'install the newest kernel of your distribution and reboot',
  ],
  old_wireguard_go: [
    'this wireguard-go lacks the fix of CVE-2026-99059',
    'install a build newer than 0.0.20250522, or a kernel with WireGuard',
  ],
  old_node: ['this Node.js release has known security faults', 'install Node.js 24.22.3 or newer'],
  not_joined: ['this machine is not enrolled', 'prime-node join <url> <token>'],
  agent_stopped: [
    'the agent does not run; tunnels go on, changes wait',
    'systemctl start prime-node, or prime-node run',
  ],
  link_down: [
    'the agent has no link to the control plane; tunnels go on, changes wait',
    'check the network and the control plane',
  ],
  interface_missing: ['the WireGuard interface is not there', 'start the agent: it makes the interface again'],
  firewall_missing: ['the firewall rules are not loaded', 'start the agent: it loads them again'],
  no_arp_filter: [
    'this kernel has no ARP family for nftables: neighbours can ask whether a tunnel address is used',
    'modprobe nft_arp or set net.ipv4.conf.<uplink>.arp_ignore=1',
  ],
  forwarding_off: [
    'the machine does not forward packets',
    'sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1',
  ],
  foreign_forward_drop: [
    'another firewall drops forwarded packets',
    'let it accept packets from and to the tunnel interface',
  ],
  no_ipv6: ['this kernel has no IPv6: customers have it only up to this machine', 'boot without ipv6.disable=1'],
  no_ipv6_uplink: [
    'no IPv6 route leads out: customers are told so at once',
    'give the machine IPv6 if its network has it',
  ],
  conntrack_full: ['the connection-tracking table is nearly full', 'raise net.netfilter.nf_conntrack_max'],
  clock_skew: [
    "this machine's clock differs from the control plane's by more than 5 s",
    'install chrony or systemd-timesyncd',
  ],
  control_plane_unreachable: ['the control plane does not answer', 'check the network and the URL'],
  swap_on: ['swap is on: keys may reach the disk', 'swapoff -a, or encrypt the swap'],
  core_dumps: ['the agent may leave core dumps, which hold keys', 'start it with LimitCORE=0 or ulimit -c 0'],
  runs_as_root: ['the agent runs as root, which it does not need', 'use the unit deploy/node/prime-node.service'],
  journal_unwritable: ['the journal of peers cannot be written', 'free space on the disk of the data directory'],
} as const satisfies Record<string, readonly [string, string]>

export type FindingCode = keyof typeof TEXTS

/** Each code with its sentence and remedy. */
export const describe = (code: FindingCode): Finding => ({ code, what: TEXTS[code][0], remedy: TEXTS[code][1] })

/** True for a code of ours; a running agent of another version may know others. */
export const isFindingCode = (text: string): text is FindingCode => Object.hasOwn(TEXTS, text)

import type { NodeConfig } from '@prime-vpn/node-protocol'
import { generateKeyPair, publicKeyOf, type InterfaceState } from '@prime-vpn/wireguard'
import type { FindingCode } from './findings.ts'
import { isApplied, type Firewall } from './firewall.ts'
import { saveIdentity, type Enrolled } from './identity.ts'
import { bringUp, type Bringing } from './machine.ts'

/** Keeps interface, rules and forwarding as the configuration says, for as long as the agent runs. */
export type Keeper = {
  identity: () => Enrolled
  ipv6: () => boolean
  /** The life of the interface that writes go to now; changes only when it is made anew. */
  interfaceId: () => string
  /** Asks the system for it. @throws {WireguardError} there is no interface */
  readInterfaceId: () => Promise<string>
  /** Takes a configuration and brings the machine there. @throws {CannotRun} @throws {WireguardError} */
  configure: (config: NodeConfig) => Promise<void>
  /** Brings the machine up again when what is there is not what it should be. */
  repairIfNeeded: (found: InterfaceState | null) => Promise<void>
  /** Loads the rules again when somebody has thrown them away. @returns true when that was so */
  repairFirewall: () => Promise<boolean>
  /** Makes a new interface key, keeps it, sets it. @returns its public half */
  rotateKey: () => Promise<string>
  findings: () => FindingCode[]
}

/** Starts without touching the machine; the first `configure` does. */
export function interfaceKeeper(o: { identity: Enrolled; dataDir: string; driver: Bringing['driver'] }): Keeper {
  let { identity } = o
  let config: NodeConfig | null = null
  let firewall: Firewall | null = null
  let ipv6 = false
  let interfaceId = ''
  const { dataDir, driver } = o

  const up = async (): Promise<void> => {
    if (!config) return
    ;({ firewall, ipv6 } = await bringUp({ identity, config, dataDir, driver }))
    interfaceId = await driver.identity()
    if (identity.former_key === null) return
    identity = { ...identity, former_key: null }
    await saveIdentity(dataDir, identity)
  }
  return {
    identity: () => identity,
    ipv6: () => ipv6,
    interfaceId: () => interfaceId,
    readInterfaceId: async () => (interfaceId = await driver.identity()),
    configure: async (wanted) => {
      config = wanted
      await up()
    },
    repairIfNeeded: async (found) => {
      const key = publicKeyOf(identity.wireguard_key)
      if (found?.publicKey === key && found.listenPort === config?.listen_port && firewall) return
      await up()
    },
    repairFirewall: async () => {
      if (!config || !firewall || (await isApplied(identity.interface, firewall.mark))) return false
      await up()
      return true
    },
    rotateKey: async () => {
      const fresh = generateKeyPair()
      identity = { ...identity, former_key: identity.wireguard_key, wireguard_key: fresh.privateKey }
      await saveIdentity(dataDir, identity)
      await up()
      return fresh.publicKey
    },
    findings: () => {
      const found: FindingCode[] = []
      if (firewall && !firewall.arp) found.push('no_arp_filter')
      if (config && !ipv6 && config.addresses.some((a) => a.includes(':'))) found.push('no_ipv6')
      return found
    },
  }
}

import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { open } from 'maxmind'
import { countryReader, type CountryOf } from './geo.ts'

const PACKAGE = '@ip-location-db/geo-whois-asn-country-mmdb'

/** The database that ships with us: CC0, made of the registries' own WHOIS data. */
const shipped = (): string =>
  join(dirname(createRequire(import.meta.url).resolve(`${PACKAGE}/package.json`)), 'geo-whois-asn-country.mmdb')

/**
 * Opens a country database (MMDB): the operator's own file, which is read again when it is replaced, or the shipped one.
 * @throws a readable message when the operator's file is not one
 */
export async function openCountryDatabase(file?: string): Promise<CountryOf> {
  try {
    return countryReader(
      await open<never>(
        file ?? shipped(),
        file === undefined ? {} : { watchForUpdates: true, watchForUpdatesNonPersistent: true },
      ),
    )
  } catch (error) {
    throw new Error(`GEOIP_FILE ${file ?? '(shipped)'} is not a country database in MMDB form`, { cause: error })
  }
}

export { parseConfig, SETTINGS, ConfigError, type Config } from './config.ts'
export { readEnv, type Env } from './env.ts'

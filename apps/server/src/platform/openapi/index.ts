export { openapiDocument, useOpenapi } from './document.ts'
export { openapiRoutes } from './pages.ts'

#!/usr/bin/env node
// A file that exists before the first build, so that npm can link the command at install time.
import { existsSync } from 'node:fs';

const main = new URL('../dist/main.js', import.meta.url);
if (!existsSync(main)) {
  console.error('mediablobkit is not built yet. Run: npm run build');
  process.exit(1);
}
await import(main.href);

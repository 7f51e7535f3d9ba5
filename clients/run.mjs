// Runs the suites with what scripts/clients.mjs has installed and started; the arguments are vitest's.
import { runVitest } from '../scripts/run-vitest.mjs';

process.exit(await runVitest({ root: import.meta.dirname, args: process.argv.slice(2) }));

/**
 * npm start — builds what changed, then runs `mediablobkit start` in this very process, so that signals,
 * kill −9 and the exit code are the server's own. Arguments are passed on: npm start -- --help
 */
import { pathToFileURL } from 'node:url';

import { buildOrExit, mainPath } from './build.mjs';

await buildOrExit();
process.argv = [process.argv[0], mainPath, 'start', ...process.argv.slice(2)];
await import(pathToFileURL(mainPath).href);

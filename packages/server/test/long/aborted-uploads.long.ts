import { describe } from 'vitest';

import { abortedUploads } from '../aborted-uploads.suite.js';

describe.runIf(process.platform === 'linux')('aborted uploads on disk', () => {
  abortedUploads(500, () => Promise.resolve(undefined));
});

import { describe } from 'vitest';

import { sweepTraffic } from '../../../../test/sweep-traffic.suite.js';

describe('the sweep beside everything else', () => {
  // A hundred of them: npm run test:long.
  sweepTraffic(5);
});

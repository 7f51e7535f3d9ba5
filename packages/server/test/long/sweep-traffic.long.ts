import { describe } from 'vitest';

import { sweepTraffic } from '../sweep-traffic.suite.js';

describe('the sweep beside everything else', () => {
  sweepTraffic(100);
});

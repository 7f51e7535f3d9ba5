import { availableParallelism } from 'node:os';

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    environment: 'node',
    // Processes, not threads: killing children, signals and native modules behave as in production.
    pool: 'forks',
    // vitest leaves a core to itself and would run one file at a time on two; half of a test's time is waiting.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    // A busy two-core machine takes ten times what a quiet one does; a hang still ends the run.
    testTimeout: 15_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    restoreMocks: true,
    coverage: {
      provider: 'v8',
      include: ['src/features/**', 'src/foundation/**'],
      exclude: ['**/*.test.ts', '**/*.suite.ts', 'src/foundation/database/tables.ts'],
    },
  },
});

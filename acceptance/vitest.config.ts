import { defineConfig } from 'vitest/config';

// Each file starts servers of its own; two cores are shared by them, so the files take turns.
export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    fileParallelism: false,
  },
});

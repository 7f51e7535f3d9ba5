import { defineConfig } from 'vitest/config';

// Each suite starts servers of its own, and some a browser; two cores are shared by them, so the suites take turns.
export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['*.test.mjs'],
    testTimeout: 90_000,
    hookTimeout: 120_000,
    fileParallelism: false,
  },
});

import { defineConfig } from 'vitest/config'

export default defineConfig({
  // Whatever NODE_ENV says where it is built, a package never contains React's development runtime.
  oxc: { jsx: { development: false } },
  // One file for each entry, and one for what they share. Types are written by tsc.
  build: {
    target: 'es2022',
    minify: false,
    lib: { entry: { index: 'src/index.ts', client: 'src/client.ts' }, formats: ['es'] },
    rolldownOptions: {
      external: /^react(\/|$)/,
      output: {
        chunkFileNames: 'core.js',
        banner: ({ name }) => (name === 'index' ? "'use client';" : ''),
      },
    },
  },
  test: {
    environment: 'jsdom',
    setupFiles: 'test/setup.ts',
    restoreMocks: true,
    unstubGlobals: true,
    testTimeout: 120_000, // ms, for a busy machine; the clock of the tests is their own
    hookTimeout: 120_000,
  },
})

import { defineConfig } from 'vitest/config'

export default defineConfig({
  // Whatever NODE_ENV says where it is built, the page never contains React's development runtime.
  mode: process.env.VITEST ? 'test' : 'production',
  define: process.env.VITEST ? {} : { 'process.env.NODE_ENV': '"production"' },
  oxc: { jsx: { development: false } },
  // The package is linked and brings a React of its own, for its own tests.
  resolve: { dedupe: ['react', 'react-dom'] },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0, // the page's policy takes nothing inline
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // The package's 'use client' is for servers that render.
    rolldownOptions: { onLog: (level, log, tell) => log.code !== 'MODULE_LEVEL_DIRECTIVE' && tell(level, log) },
  },
  // npm run dev: the page with changes as they are made, over an API on its usual port.
  server: { proxy: Object.fromEntries(['/api', '/page.json'].map((path) => [path, 'http://127.0.0.1:3000'])) },
  test: { environment: 'jsdom', restoreMocks: true, unstubGlobals: true, testTimeout: 120_000, hookTimeout: 120_000 }, // ms, for a busy machine
})

import { defineConfig } from "vitest/config";

// A busy machine is slow: the limits are there to end a test that hangs.
export default defineConfig({ test: { include: ["test/*.test.ts"], testTimeout: 120_000, hookTimeout: 120_000 } });

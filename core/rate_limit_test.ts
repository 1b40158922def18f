import { assert, assertFalse } from "@std/assert";
import { RATE_SLICE_MS, RateLimit } from "./rate_limit.ts";

Deno.test("RateLimit lets pass what the rate allows, over time", () => {
  const rate = 1_000_000;
  const limit = new RateLimit();
  limit.begin(0);
  let passedBytes = 0;
  for (let nowMs = 0; nowMs <= 10_000; nowMs += RATE_SLICE_MS) {
    while (limit.allows(rate, nowMs)) {
      limit.take(4096);
      passedBytes += 4096;
    }
  }
  assert(Math.abs(passedBytes / (10 * rate) - 1) < 0.02, `${passedBytes} bytes`);
});

Deno.test("RateLimit lets a block pass that is larger than a slice, then waits for it", () => {
  const limit = new RateLimit();
  limit.begin(0);
  assert(limit.allows(1000, 0));
  limit.take(10_000);
  assertFalse(limit.allows(1000, 9000));
  assert(limit.allows(1000, 10_000));
});

Deno.test("RateLimit saves nothing up for a burst", () => {
  const limit = new RateLimit();
  limit.begin(0);
  assert(limit.allows(1000, 3_600_000));
  limit.take(1000);
  assertFalse(limit.allows(1000, 3_600_000));
});

Deno.test("RateLimit of 0 is none", () => {
  const limit = new RateLimit();
  limit.take(1e12);
  assert(limit.allows(0, 0));
});

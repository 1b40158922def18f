# Works with GNU make and BSD make; nothing here needs building, deno runs the source.

# Every run of our programs and tests uses these: system calls through FFI make any narrower list
# of permissions an illusion.
PERMISSIONS = --no-prompt --allow-all

# What `make test` runs: all, or for instance make test TESTS="tests/integration".
TESTS =

# make chaos: seconds, or one round of a run that failed.
DURATION = 300
SEED =
ROUND =

help:
	@echo 'make demo        two nodes on this machine, a disk replicated, a failover: under a minute'
	@echo 'make test        all tests; TESTS="FILE ..." runs some'
	@echo 'make check       format, lint, types, examples, manual pages, scripts'
	@echo 'make launchers   build/run/hastd and build/run/hastctl, which run the source'
	@echo 'make chaos       kills, partitions, disk errors; DURATION=SECONDS, SEED=N ROUND=N repeats one'
	@echo 'make bench       throughput beside nbdkit; takes several minutes'
	@echo 'make clean       removes build/ and .deno/'

# Gets Deno from npm into .deno/ where there is none in PATH.
deno:
	@scripts/deno.sh --install

# npm packages into the cache of Deno, exactly those in deno.lock.
deps: deno
	@scripts/deno.sh install --quiet --frozen
	@scripts/deno.sh cache --quiet --frozen std/*.ts

launchers: deps
	@PERMISSIONS="$(PERMISSIONS)" scripts/launchers.sh

demo: launchers
	@scripts/packages.sh demo
	@scripts/demo.sh

test: launchers
	@scripts/packages.sh test
	@PERMISSIONS="$(PERMISSIONS)" scripts/test.sh $(TESTS)

# As root on Linux: makes network namespaces. Says so and succeeds where it cannot run.
chaos: launchers
	@scripts/packages.sh test
	@scripts/deno.sh run $(PERMISSIONS) --frozen tests/chaos/main.ts \
	    --duration=$(DURATION) --seed=$(SEED) --round=$(ROUND)

check: deps
	@scripts/packages.sh check
	@PERMISSIONS="$(PERMISSIONS)" scripts/check.sh

bench: launchers
	@scripts/packages.sh bench
	@scripts/deno.sh run $(PERMISSIONS) --frozen bench/main.ts

clean:
	rm -rf build .deno

.PHONY: help deno deps launchers demo test chaos check bench clean

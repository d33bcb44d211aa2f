# albertdb: `make run` shows it at work, `make test` tests it. Both install
# what is missing on Debian 12 first. See README.md.

JOBS ?= $(shell nproc)
PREFIX ?= /usr/local

.PHONY: all build run test install coverage bench bench-build bench-full \
	bench-large bench-mapped bench-stall bench-scaling bench-amplification \
	guard fuzz clean help deps test-deps format \
	soak-kill soak-power soak-fault soak-damage soak-model soak-metamorphic \
	soak-threads soak-sim mutants

all: build

help:
	@sed -n 's/^## //p' Makefile

## make run      build, load a public data set into ./data and look at it
run: deps build
	@sh scripts/run.sh

## make test     build every way and run all tests
test: test-deps
	@sh scripts/test.sh $(JOBS)

## make build    the release build in build/release
build:
	@cmake --preset release -G Ninja -DADB_BUILD_TESTS=OFF >/dev/null
	@ninja -C build/release

## make install  into PREFIX (default /usr/local)
install: build
	@cmake --install build/release --prefix $(PREFIX)

## make bench    albertdb beside RocksDB and LMDB, ten loops (5 to 15 minutes)
bench: bench-build
	@python3 bench/compare/compare.py

## make bench-full  every engine and loop at 2 million keys (about 3 hours)
bench-full: bench-build
	@python3 bench/compare/compare.py --name bench-full --rows all \
		--engines all --num 2000000 --memtable 64M

## make bench-mapped  reads with mapped tables, as LMDB reads (20 minutes)
bench-mapped: bench-build
	@python3 bench/compare/compare.py --name bench-mapped --rows reads \
		--num 2000000 --memtable 64M --set table_access=map

define large
	python3 bench/compare/compare.py --rows large --engines all \
		--num 20000000 --rounds 3 --seconds 60 --cache 128M --memtable 64M \
		--bases build/bench-large-bases
endef

## make bench-large  every engine at 20 million keys, in 1 GiB and page-cached
bench-large: bench-build
	@$(large) --name bench-large-limited --memory-limit 1G
	@$(large) --name bench-large
	@rm -rf build/bench-large-bases

## make bench-stall  overwrites for SECONDS (default 600): latency and debt
bench-stall: bench-build
	@python3 bench/compare/compare.py --name bench-stall --rows stall \
		--engines albertdb,rocksdb --num 2000000 --rounds 1 \
		--memtable 64M --seconds $(or $(SECONDS),600)

## make bench-amplification  bytes written and kept for each of the user's
bench-amplification: build
	@cmake --preset release -G Ninja >/dev/null
	@ninja -C build/release amplification
	@dir=$$(mktemp -d ./amplification-XXXXXX); status=0; \
		build/release/bench/amplification $$dir || status=$$?; \
		rm -rf $$dir; exit $$status

## make bench-scaling  1 to 20 million keys, 1 to 8 threads (about an hour)
bench-scaling: bench-build
	@python3 bench/compare/compare.py --name bench-scaling \
		--rows sizes,threads --engines albertdb,rocksdb,lmdb \
		--num 1000000 --rounds 3 --memtable 32M

bench-build:
	@sh scripts/install-deps.sh build run bench
	@cmake --preset release -G Ninja >/dev/null
	@ninja -C build/release compare

## make guard    instructions an operation, against bench/guard/instructions.txt
guard: test-deps
	@cmake --preset release -G Ninja >/dev/null
	@ninja -C build/release bench_guard_loops
	@python3 bench/guard/guard.py build/release/bench/guard/bench_guard_loops

## make coverage  which branches of the library the tests take, file by file
coverage: test-deps
	@python3 scripts/coverage.py --jobs $(JOBS)

## make fuzz     libFuzzer over all decoders, FUZZ_SECONDS each (default 600)
fuzz: test-deps
	@sh scripts/fuzz.sh $(or $(FUZZ_SECONDS),600)

define soak
	@cmake --preset release -G Ninja -DADB_BUILD_TESTS=ON >/dev/null
	@ninja -C build/release test_$(1)
	@cd build/release/tests && $(2) ./test_$(1)
endef

## make soak-kill  kill -9 a writing process KILLS times (default 20000)
soak-kill: test-deps
	$(call soak,model_kill,ADB_TEST_KILLS=$(or $(KILLS),20000))
	$(call soak,model_kill_threads,ADB_TEST_KILLS=$(or $(KILLS),20000))

## make soak-model  OPS random operations against a model (default 500000000)
soak-model: test-deps
	$(call soak,model_model,ADB_TEST_OPS=$(or $(OPS),500000000))

## make soak-metamorphic  OPS operations under each of many sets of options
soak-metamorphic: test-deps
	$(call soak,model_metamorphic,ADB_TEST_OPS=$(or $(OPS),1000000))

## make soak-threads  HISTORIES of threads on one database (default 20000)
soak-threads: test-deps
	$(call soak,model_linearizable,ADB_TEST_HISTORIES=$(or $(HISTORIES),20000))

## make soak-power  look at IMAGES disks after power cuts (default 1000000)
soak-power: test-deps
	$(call soak,trust_power,ADB_TEST_IMAGES=$(or $(IMAGES),1000000))

## make soak-fault  let FAULTS calls and allocations fail (default 50000)
soak-fault: test-deps
	$(call soak,trust_fault,ADB_TEST_FAULTS=$(or $(FAULTS),50000))

## make soak-damage  flip every bit of every file of a small database
soak-damage: test-deps
	$(call soak,trust_damage,ADB_TEST_DAMAGES=0)

## make soak-sim  SEEDS fresh seeds of the simulation (default 100000)
soak-sim: test-deps
	$(call soak,sim_sim,ADB_TEST_SEEDS=$(or $(SEEDS),100000) \
		ADB_TEST_JOBS=$(JOBS))

## make mutants  break the engine in many places: do the tests notice? (half an hour)
mutants: test-deps
	@python3 tests/mutants/mutants.py --jobs $(JOBS)

## make format   clang-format over all C files
format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

deps:
	@sh scripts/install-deps.sh build run

test-deps:
	@sh scripts/install-deps.sh build run test

clean:
	rm -rf build

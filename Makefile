# sterna's front door. Each target is one line over CMake or a script in tools/, where the work is.
BUILD ?= build
PREFIX ?= /usr/local

all: ## build the library, the command and the tests into build/
	@tools/build $(BUILD)
demo: ## install what is missing, build, ingest, read [STORE=cassandra] [IMAGES=/path]
	@tools/demo $(if $(STORE),--store "$(STORE)") $(if $(IMAGES),"$(IMAGES)")
python: ## build the Python package into build/python (PYTHONPATH)
	@tools/setup python
	@tools/build $(BUILD) -DSTERNA_PYTHON=ON -tsterna_python
wheel: ## the Python package as a wheel, for all Pythons from 3.11 on, into build/dist
	@tools/wheel $(BUILD)
check: ## install what is missing, build, run all tests, also with sanitizers [CHECK_LIVE=0] [CHECK_PYTHON=0]
	@tools/check
live: ## run only the tests against a real Cassandra
	@tools/check live
check-python: ## run only the tests of the Python package, with the oldest and the current torch
	@tools/check python
asan: ## build and run the tests with AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/check asan
tsan: ## build and run the tests with ThreadSanitizer
	@tools/check tsan
fault: ## run only the sweeps over failing allocations and system calls, and over kills
	@tools/check -R 'fault|kill' plain
fuzz: ## run each fuzzer for a minute (clang)
	@tools/fuzz
bench: ## ratios against bare loops and the disk, in one run (bench/README.md)
	@tools/bench $(BUILD)
bench-wan: ## over emulated links of 0, 20 and 150 ms [ARGS=--quick]
	@tools/bench wan $(BUILD) $(ARGS)
bench-cassandra: ## the same against a real Cassandra of one node
	@tools/bench cassandra $(BUILD)
bench-python: ## sterna.torch against the command and a DataLoader [ARGS=--quick]
	@tools/bench python $(BUILD) $(ARGS)
lint: ## does the source have the house format?
	@tools/format --check
format: ## give the source the house format
	@tools/format
install: all ## install into PREFIX (/usr/local), below DESTDIR if that is set
	@cmake --install $(BUILD) --prefix $(PREFIX)
setup: ## only install what building, testing and the demo need
	@tools/setup build test live demo python pytest venv
clean: ## remove what was built (build/ and its sanitizer siblings, with the demo's store)
	@rm -rf $(BUILD) build-asan build-tsan build-fuzz
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "  make %-15s %s\n", $$1, $$2}'

.PHONY: all python wheel demo check check-python live asan tsan fault fuzz bench bench-wan bench-cassandra bench-python lint format install setup clean help

# make run: set up and start the bot (the demo page alone, without TELEGRAM_BOT_TOKEN)
# make test: set up and run all tests
# make soak: half an hour of load and faults (SOAK_MINUTES=30); writes benchmarks/SOAK.md
# make bench: measure speed beside others', start, the live camera and memory; make slug: size on Heroku

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '' 2>/dev/null && echo $$python && break; done)
BIN = .venv/bin

.PHONY: run test bench soak slug setup programs lint audit

run: setup
	$(BIN)/python -m bot

# In two processes, as many tests wait for servers.
test: setup programs
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

SOAK_MINUTES ?= 30

soak: setup programs
	$(BIN)/python -m benchmarks.soak --minutes $(SOAK_MINUTES)

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

# Known vulnerabilities in the installed packages; says so where their database can't be reached.
audit: setup
	@$(BIN)/pip-audit --format json --progress-spinner off --timeout 10 | $(BIN)/python bin/audit

# A quarter of an hour: photos, beside the naive pipeline and fer, and this project's service, live camera and
# memory. Figures go to benchmarks/RESULTS.md.
bench: setup benchmarks/.venv/installed benchmarks/.deployed/installed
	$(BIN)/python -m benchmarks

# What goes to Heroku, installed anew and compressed; fails where it would not fit.
slug: setup
	$(BIN)/python -m benchmarks.slug

# fer needs an older Python than the rest; where it can't be installed it is left out, and the results say so.
benchmarks/.venv/installed: benchmarks/requirements.txt
	@{ for python in python3.12 python3.11; do $$python -c '' 2>/dev/null && break; done; \
		$$python -m venv $(@D) && \
		$(@D)/bin/pip install --quiet --disable-pip-version-check -r $< && touch $@; } || \
		{ rm -rf $(@D); echo "fer is not installed, so it is left out"; }

# What a dyno has: TensorFlow imports pandas and scikit-learn where they are, which takes 90 MB.
benchmarks/.deployed/installed: requirements.txt bin/post_compile
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	PATH="$(CURDIR)/$(@D)/bin:$$PATH" bash bin/post_compile
	touch $@

setup: .venv/installed

.venv/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# Debian's, driven by tests, which skip, saying so, where it can't be installed.
PROGRAMS = chromium nginx redis-server

programs:
	@missing=$$(for program in $(PROGRAMS); do command -v $$program >/dev/null || echo $$program; done); \
	[ -z "$$missing" ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -qq -y $$missing >/dev/null; } || \
		echo "not installed, so that tests with it will be skipped:" $$missing

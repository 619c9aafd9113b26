# make run: set up and start the bot (the demo page alone, without TELEGRAM_BOT_TOKEN)
# make test: set up and run all tests
# make bench: measure speed, memory and start against others; make slug: size on Heroku

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '' 2>/dev/null && echo $$python && break; done)
BIN = .venv/bin

.PHONY: run test setup browser lint bench slug

run: setup
	$(BIN)/python -m bot

test: setup browser
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

# Some minutes: the project against the naive pipeline and fer. Figures go to benchmarks/RESULTS.md.
bench: setup benchmarks/.venv/installed
	$(BIN)/python -m benchmarks

# What goes to Heroku, installed anew and compressed; fails where it would not fit.
slug: setup
	$(BIN)/python -m benchmarks.slug

# fer needs an older Python than the rest; without one it is left out, and the results say so.
benchmarks/.venv/installed: benchmarks/requirements.txt
	{ for python in python3.12 python3.11; do $$python -c '' 2>/dev/null && break; done; \
		$$python -m venv benchmarks/.venv && \
		benchmarks/.venv/bin/pip install --quiet --disable-pip-version-check -r $<; } || \
		rm -rf benchmarks/.venv
	mkdir -p $(@D) && touch $@

setup: .venv/installed

.venv/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# The page's tests drive Debian's Chromium; they skip, saying so, where it can't be installed.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -qq -y chromium >/dev/null; } || \
		echo "chromium is not installed: the page's tests will be skipped"

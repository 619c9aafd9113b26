# make run: set up and start the bot (the demo page alone, without TELEGRAM_BOT_TOKEN)
# make test: set up and run all tests

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '' 2>/dev/null && echo $$python && break; done)
BIN = .venv/bin

.PHONY: run test setup browser lint

run: setup
	$(BIN)/python -m bot

test: setup browser
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

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

# `make demo` and `make test` are the only set-up commands; each makes .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check clean

demo: .venv/.installed
	$(BIN)/python -m pentimento.app.demo --out demo

test: .venv/.installed
	$(BIN)/python -m pytest -n 2 --dist loadscope

check: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv demo

# Two commands on a fresh machine: `make demo` and `make test`. They need Python 3.11+, pip and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-data

.PHONY: demo test check install schemas clean

# --- for users

demo: $(VENV)/.installed ## Train both stages on a small rendered set, on the CPU.
	@test -e $(DEMO)/demo.json || $(BIN)/sainet data demo $(DEMO)
	$(BIN)/sainet full-workflow --profile cpu --config $(DEMO)/demo.yaml --weights yolov8n.yaml --run demo

install: $(VENV)/.installed ## Set up .venv with sainet in it.

# --- for developers

test: check ## Every check and every test: first those that compare times, alone; then the others, two at a time.
	$(BIN)/python -m pytest -m alone
	$(BIN)/python -m pytest -m "not alone" -n 2 --dist loadfile

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

schemas: $(VENV)/.installed ## Renew the JSON schemas after a change of sainet/config/schema.py.
	for kind in profile preset project; do \
		$(BIN)/sainet config schema --kind $$kind > configs/schema/$$kind.schema.json; \
	done

clean:
	rm -rf $(VENV) $(DEMO) runs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# --- the environment, made again when pyproject.toml changes

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

# Everything a developer does, as one word each. `make demo` and `make test` set up what they need.
PYTHON ?= python3
PY := .venv/bin/python
UV := .venv/bin/uv
COMPILE := $(UV) pip compile --quiet --no-annotate --universal --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"

.PHONY: setup demo test lint schema docs bench lock clean

setup: .venv/complete

.venv/complete: requirements/dev.txt requirements/uv.txt requirements/deepchecks.txt pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv .venv
	test -x $(UV) || $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(UV) pip install --quiet --python $(PY) --compile-bytecode --require-hashes -r requirements/dev.txt
	$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	$(PY) -m ci_mlops.deepchecks.environment
	touch $@

demo: setup
	$(PY) examples/demo.py

# CI=true installs what the tests need and the machine lacks; no test is skipped for want of a tool.
test: setup
	test "$$CI" != true || { sh .ci/install && sh .ci/kubernetes; }
	$(PY) -m pytest --cov --cov-report=term:skip-covered

lint: setup
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports
	.venv/bin/zizmor --offline --quiet --persona auditor . workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows workflows/*.yml .github/workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.github-actions action.yml actions/*/action.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.github-issue-forms workflows/forms/*.yml
	.venv/bin/check-jsonschema --schemafile ci_mlops/schema/mlops.schema.json examples/*/mlops.yml
	.venv/bin/check-jsonschema --schemafile ci_mlops/schema/policy.schema.json policies/*.yml
	.venv/bin/codespell

schema: setup
	$(PY) -m ci_mlops schema --write ci_mlops/schema

docs: setup
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict

# A short form of every benchmark; each says with --help how to run it in full.
bench: setup
	$(PY) -m benchmarks.startup --quick
	$(PY) -m benchmarks.deepchecks_speed --quick
	mkdir -p build
	$(PY) -m benchmarks.latency_gate --minutes 1 --output build/latency_gate.json
	$(PY) -m benchmarks.data_faults --seeds 2 --output build/data_faults.json
	$(PY) -m benchmarks.model_gate
	$(PY) -m benchmarks.behaviour_bugs --seeds 2 --output build/behaviour_bugs.json
	$(PY) -m benchmarks.explain --rows 5000 --output build/explain.json
	$(PY) -m benchmarks.broken_inputs --output build/broken_inputs.json
	$(PY) -m benchmarks.chain --times 1 --output build/chain.json
	$(PY) -m benchmarks.publications --count 20 --output build/publications.json
	$(PY) -m benchmarks.serving --alone --rounds 3 --output build/serving.json
	$(PY) -m benchmarks.release_crashes --kills 8 --output build/release_crashes.json
	$(PY) -m benchmarks.faulty_candidates --quick --rounds 1 --controls 3 --output build/faulty_candidates.json
	$(PY) -m benchmarks.ledger_races --rounds 2 --kills 8 --output build/ledger_races.json
	$(PY) -m benchmarks.data_diff --rows 100000 --output build/data_diff.json

lock:
	$(COMPILE) --python-version 3.11 requirements/uv.in -o requirements/uv.txt
	$(COMPILE) --python-version 3.11 pyproject.toml -o requirements/runtime.txt
	$(COMPILE) --python-version 3.11 -c requirements/runtime.txt requirements/serving.in -o requirements/serving.txt
	$(COMPILE) --python-version 3.11 --group dev -c requirements/runtime.txt -c requirements/serving.txt pyproject.toml -o requirements/dev.txt
	$(COMPILE) --python-version 3.11.5 requirements/deepchecks.in -o requirements/deepchecks.txt
	$(COMPILE) --python-version 3.11 requirements/loaders.in -o requirements/loaders.txt
	$(COMPILE) --python-version 3.11 requirements/mlflow.in -o requirements/mlflow.txt
	$(COMPILE) --python-version 3.11 examples/loans/requirements.in -o examples/loans/requirements.txt

clean:
	rm -rf .venv .cache build site

# Every command sets up what it needs: a Python >= 3.11, git and make are all that the machine must have.
CORES ?= 2
TESTS ?= tests

# the first that is new enough; failing all, an older python3 can still run the set-up, where uv finds or fetches one
CANDIDATES := .venv/bin/python python3 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	$$p -S -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)

# rules, tests and benchmarks run with the environment of the lock file, whatever the shell has active
RUN := PATH="$(CURDIR)/.venv/bin:$$PATH"
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help demo benchmark-demo papers-demo all-tables-smoke test test-slurm soak-slurm lint format bench docs lock clean setup

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24
	@echo "  CORES=8 for more than $(CORES) cores; PYTHON=python3.12 for another interpreter; TESTS=tests/unit for some tests"

demo: setup ## train and evaluate on the embedded dataset; tables and figures in results/demo
	$(RUN) snakemake --cores $(CORES) --rerun-incomplete --configfile config/demo.yaml

benchmark-demo: setup ## train and evaluate all methods on the embedded dataset; tables in results/benchmark-demo
	$(RUN) snakemake --cores $(CORES) --rerun-incomplete --configfile config/demo.yaml config/benchmark-demo.yaml

papers-demo: setup ## tables, figures and claims of all papers on the embedded dataset, in results/papers-demo
	$(RUN) snakemake --cores $(CORES) --rerun-incomplete --configfile config/demo.yaml config/papers-demo.yaml

SMOKE := config/demo.yaml config/papers-demo.yaml config/smoke.yaml
PAPERS := ltg cmpl timebalance acl-mtl benchmark

all-tables-smoke: setup ## every table, figure, claim and the report from two training steps each, in results/smoke
	$(RUN) snakemake --cores $(CORES) --rerun-incomplete --configfile $(SMOKE)
	@if command -v tectonic pdflatex >/dev/null; then \
		$(RUN) snakemake --cores $(CORES) $(PAPERS:%=results/smoke/tables/%/all.pdf) --configfile $(SMOKE); \
	else echo "no TeX engine: the tables are not typeset"; fi

test: lint ## lint, type-check and test
	$(RUN) python -m pytest -n $(CORES) --dist loadfile --ignore tests/slurm $(TESTS)

# most of each test is waiting, hence more of them at once than cores
test-slurm: setup ## faults on a real SLURM cluster that is started here; needs root and the packages that it names
	$(RUN) python -m pytest -n 4 --dist worksteal -rs --timeout 900 tests/slurm

soak-slurm: setup ## sixty trainings on that cluster while they, nodes and Snakemake are killed; half an hour
	$(RUN) python -m tests.slurm.soak

lint: setup ## ruff, snakefmt, mypy and snakemake's own linter
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check Snakefile rules
	$(RUN) mypy
	$(RUN) snakemake --lint

format: setup ## rewrite the code in the project's format
	$(RUN) ruff check --fix .
	$(RUN) ruff format .
	$(RUN) snakefmt Snakefile rules

bench: setup ## run every benchmark
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(RUN) python "$$file"; done

docs: setup ## generate the schema and the configuration reference
	$(RUN) python workflow/cli.py config schema
	$(RUN) python workflow/cli.py config reference

lock: setup ## resolve requirements.lock again (UPGRADE=1: to the newest versions)
	$(PYTHON) envs/lock.py $(if $(UPGRADE),--upgrade)

clean: ## remove the environment and all caches; results stay
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.snakemake/*' -type d -prune -exec rm -rf {} +

setup:
	@$(PYTHON) -S envs/bootstrap.py

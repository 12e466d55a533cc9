# make run       napari with a real scan segmented; without a display the same under Xvfb, into run-output/
# make test      lint, types and both suites
# make picture   docs/images/hippocampus.png anew
# Each does all its set-up: Debian packages (as root, or where sudo asks nothing), then .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
INSTALL := $(PIP) install --quiet --retries 5 --prefer-binary -c .ci/constraints.txt
OUTPUT ?= run-output

ifneq ($(wildcard ../shared/data),)
export HYPERSPACE_DATA ?= $(abspath ../shared/data)
endif

.PHONY: run picture test clean

run: $(VENV)/app.stamp
ifeq ($(DISPLAY)$(WAYLAND_DISPLAY),)
	LIBGL_ALWAYS_SOFTWARE=1 xvfb-run -a -s "-screen 0 1600x1000x24" \
		$(BIN)/python docs/scripts/demo.py --output $(OUTPUT)
else
	$(BIN)/python docs/scripts/demo.py --output $(OUTPUT) --stay
endif

# The README's picture: the same window, with napari's own settings instead of the user's.
picture: $(VENV)/app.stamp
	NAPARI_CONFIG="$$(mktemp -d)/settings.yaml" DISPLAY= WAYLAND_DISPLAY= $(MAKE) run
	mkdir -p docs/images && cp $(OUTPUT)/screenshot.png docs/images/hippocampus.png

test: $(VENV)/tox.stamp
	TORCH="$$(.ci/torch-requirement $(PIP))" $(BIN)/tox run

$(VENV)/venv.stamp: .ci/system-packages
	PYTHON=$(PYTHON) .ci/system-packages
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/app.stamp: $(VENV)/venv.stamp pyproject.toml .ci/constraints.txt
	$(INSTALL) "$$(.ci/torch-requirement $(PIP))" -e ".[all]"
	touch $@

$(VENV)/tox.stamp: $(VENV)/venv.stamp .ci/constraints.txt
	$(INSTALL) tox
	touch $@

clean:
	rm -rf $(VENV) .tox $(OUTPUT)

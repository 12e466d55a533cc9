# make run       napari with a real scan segmented; without a display the same under Xvfb, into run-output/
# make test      lint, types and the suites with and without napari
# make fuzz      fresh random examples, damaged files and arguments, kills, for SECONDS=600
# make picture   the README's pictures anew
# make docs      the documentation site, into docs/_build/html
# make brain     the brain model anew, from label maps in HYPERSPACE_DATA: hours on a CPU
# make refine    the class-conditional model, from the same label maps: hours on a CPU
# Each does all its set-up: Debian packages (as root, or where sudo asks nothing), then .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
INSTALL := $(PIP) install --quiet --retries 5 --prefer-binary -c .ci/constraints.txt
OUTPUT ?= run-output
SECONDS ?= 600
# Options of the demonstration, such as --model hippocampus --spacing 1 3
DEMO ?=

ifneq ($(wildcard ../shared/data),)
export HYPERSPACE_DATA ?= $(abspath ../shared/data)
endif

# Coarse spacings come first: steps there are short, and what they teach holds for fine ones too.
COARSE := --set training.steps=3000 --set training.patch_mm=128 --set optimizer.learning_rate=1e-3 \
	--set optimizer.final_learning_rate=6e-4 --set optimizer.ema_decay=0.998 \
	--set 'spacing.range_mm=[[1.6, 7], [1.6, 7], [1.6, 7]]' --set 'spacing.fine_mm=[1.6, 2.2]' \
	--set spacing.isotropic_probability=0.6 --set synthesis.off_brain_probability=0.05 \
	--set 'validation.spacings_mm=[[2, 2, 2], [3, 3, 3], [2, 5, 2]]' \
	--set 'validation.report_spacings_mm=[[2, 2, 2], [3, 3, 3], [2, 5, 2]]'
BRAIN := resources/models/brain.safetensors
REFINE := resources/models/refine.safetensors

.PHONY: run picture test fuzz docs brain refine clean

run: $(VENV)/app.stamp
ifeq ($(DISPLAY)$(WAYLAND_DISPLAY),)
	LIBGL_ALWAYS_SOFTWARE=1 xvfb-run -a -s "-screen 0 1600x1000x24" \
		$(BIN)/python docs/scripts/demo.py --output $(OUTPUT) $(DEMO)
else
	$(BIN)/python docs/scripts/demo.py --output $(OUTPUT) --stay $(DEMO)
endif

# The pictures of README and guide: the same window, with napari's own settings instead of the user's.
picture: $(VENV)/app.stamp
	$(MAKE) docs/images/brain.png DEMO="--spacing 1 3"
	$(MAKE) docs/images/hippocampus.png DEMO="--model hippocampus"
	NAPARI_CONFIG="$$(mktemp -d)/settings.yaml" LIBGL_ALWAYS_SOFTWARE=1 \
		xvfb-run -a -s "-screen 0 1600x1200x24" $(BIN)/python docs/scripts/guide_pictures.py
	NAPARI_CONFIG="$$(mktemp -d)/settings.yaml" LIBGL_ALWAYS_SOFTWARE=1 \
		xvfb-run -a -s "-screen 0 1600x1200x24" $(BIN)/python docs/scripts/guide_correcting.py

docs/images/%.png: FORCE
	NAPARI_CONFIG="$$(mktemp -d)/settings.yaml" DISPLAY= WAYLAND_DISPLAY= $(MAKE) run OUTPUT=$(OUTPUT)/$*
	cp $(OUTPUT)/$*/screenshot.png $@

FORCE:

brain: $(VENV)/train.stamp
	$(BIN)/python -m training fit training/configs/brain.yaml --out runs/brain-coarse $(COARSE)
	$(BIN)/python -m training fit training/configs/brain.yaml --out runs/brain \
		--init runs/brain-coarse/model.safetensors
	$(BIN)/python -m training export runs/brain $(BRAIN) --dtype float16 \
		--tile-voxels 256 --tile-mm 256 --localization-extent-mm 140,190,150 \
		--localization-plausible-ml 600,2000 --localization-from-top-mm 180
	$(BIN)/python -m training evaluate-synthetic $(BRAIN) training/configs/brain.yaml --out runs/brain-synthetic --write-card

refine: $(VENV)/train.stamp
	$(BIN)/python -m training fit training/configs/refine.yaml --out runs/refine
	$(BIN)/python -m training export runs/refine $(REFINE) --dtype float16

test: $(VENV)/tox.stamp
	TORCH="$$(.ci/torch-requirement $(PIP))" $(BIN)/tox run

fuzz: $(VENV)/fuzz.stamp
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) tests/core tests/io tests/nets tests/inference

docs: $(VENV)/docs.stamp
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

$(VENV)/venv.stamp: .ci/system-packages
	PYTHON=$(PYTHON) .ci/system-packages
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/app.stamp: $(VENV)/venv.stamp pyproject.toml .ci/constraints.txt
	$(INSTALL) "$$(.ci/torch-requirement $(PIP))" -e ".[all]"
	touch $@

$(VENV)/train.stamp: $(VENV)/venv.stamp pyproject.toml .ci/constraints.txt
	$(INSTALL) "$$(.ci/torch-requirement $(PIP))" -e ".[train]"
	touch $@

$(VENV)/tox.stamp: $(VENV)/venv.stamp .ci/constraints.txt
	$(INSTALL) tox
	touch $@

$(VENV)/fuzz.stamp: $(VENV)/venv.stamp pyproject.toml .ci/constraints.txt
	$(INSTALL) "$$(.ci/torch-requirement $(PIP))" -e ".[train,test]"
	touch $@

$(VENV)/docs.stamp: $(VENV)/venv.stamp pyproject.toml .ci/constraints.txt
	$(INSTALL) "$$(.ci/torch-requirement $(PIP))" -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) .tox $(OUTPUT) docs/_build

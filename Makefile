# The front door. meson and ninja do the work; `make help` tells what can be asked for.
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
TIME    ?= 60

# Runs a command in silence, and shows what it said if it fails.
quietly = log=$$(mktemp); { $(1); } >$$log 2>&1 || { cat $$log >&2; rm -f $$log; exit 1; }; rm -f $$log
# Configures the build folder $(1) with the options $(2), once: from then on ninja sees by itself when that is stale.
configure = test -f $(1)/build.ninja || { $(call quietly,$(3) meson setup --prefix $(abspath $(PREFIX)) $(2) $(1)); }
# Builds the targets $(2) (none: all) of $(1). On a terminal ninja shows how far it is; elsewhere it is silent.
quiet := $(shell test -t 2 || echo --quiet)
build = ninja -C $(1) -n $(2) 2>&1 | grep -q "no work to do" || ninja $(quiet) -C $(1) $(2)

debug := -Dbuildtype=debugoptimized -Db_lundef=false
comma := ,

.PHONY: all build deps hello test sanitize tsan fuzz bench bench-peers install clean help

all: build

build:
	@$(call configure,$(BUILD))
	@$(call build,$(BUILD))

deps:
	@packaging/deps

hello: deps
	@$(call configure,$(BUILD))
	@$(call build,$(BUILD),utter)
	@$(BUILD)/utter say -o hello.wav "Hello! This is utter, and I am the voice that comes with it."
	@echo "It speaks: $(CURDIR)/hello.wav"

test: deps
	@$(MAKE) --no-print-directory build
	@tests/run.sh $(BUILD)

sanitize: deps
	@$(call configure,$(BUILD)-sanitize,$(debug) -Db_sanitize=address$(comma)undefined)
	@$(call build,$(BUILD)-sanitize)
	@UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 tests/run.sh $(BUILD)-sanitize

tsan: deps
	@$(call configure,$(BUILD)-tsan,$(debug) -Db_sanitize=thread)
	@$(call build,$(BUILD)-tsan)
	@TSAN_OPTIONS=halt_on_error=1 tests/run.sh $(BUILD)-tsan

fuzz: deps
	@command -v clang >/dev/null || { echo "make fuzz needs clang: apt-get install clang" >&2; exit 1; }
	@$(call configure,$(BUILD)-fuzz,$(debug) -Db_sanitize=address$(comma)undefined -Dc_args=-fsanitize=fuzzer-no-link,CC=clang)
	@tests/fuzz.sh $(BUILD)-fuzz $(TIME)

bench: deps
	@$(call configure,$(BUILD))
	@$(call build,$(BUILD),bench/make_models bench/bench_worker bench/compare)
	@bench/run.sh $(BUILD)

bench-peers:
	@mkdir -p $(BUILD)
	@bench/peers/install.sh $(BUILD)/bench-peers

install: build
	@grep -qx "prefix = $(abspath $(PREFIX))" $(BUILD)/meson-private/cmd_line.txt || \
		{ $(call quietly,meson configure $(BUILD) --prefix $(abspath $(PREFIX)) && ninja -C $(BUILD)); }
	@DESTDIR="$(DESTDIR)" meson install -C $(BUILD) --no-rebuild --quiet

clean:
	@rm -rf $(BUILD) $(BUILD)-sanitize $(BUILD)-tsan $(BUILD)-fuzz hello.wav

help:
	@echo "make             build $(BUILD)/utter and libutter"
	@echo "make hello       install what is missing, build, and speak into hello.wav"
	@echo "make test        install what is missing, build, and test everything that can be tested here"
	@echo "make deps        install the Debian packages that are missing (packaging/debian-packages.txt)"
	@echo "make sanitize    build and test with AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make tsan        build and test with ThreadSanitizer"
	@echo "make fuzz        look for inputs that break it, TIME=$(TIME) seconds for each target (needs clang)"
	@echo "make bench       measure it on this machine, and those of its peers that are installed"
	@echo "make bench-peers install them: llama.cpp, onnxruntime, PyTorch, neutts"
	@echo "make install     install under PREFIX=$(PREFIX); DESTDIR= goes before it"
	@echo "make clean       remove what was built"

BUILD ?= build
all: ; @cmake -S . -B $(BUILD) >/dev/null && cmake --build $(BUILD) -j
.PHONY: all

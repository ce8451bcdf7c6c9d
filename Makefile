# Everything about mvm begins here; each target does the set-up it needs, says
# what it does, and does it once. Caches are outside the tree: $MVM_CACHE, else
# mvm in the user's cache folder.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.PHONY: run test build kernel lint fuzz bench install clean packages-build packages-host packages-test

PREFIX ?= /usr/local
FUZZTIME ?= 10s
# Debian packages: to build the kernel and to run mvm; for the virtual KVM host;
# and the real programs that tests talk to.
BUILD_PACKAGES := flex bison bc libelf-dev libssl-dev xz-utils e2fsprogs
HOST_PACKAGES := qemu-system-x86 busybox-static kmod cpio
TEST_PACKAGES := erofs-utils docker-registry skopeo umoci mmdebstrap

KERNEL := kernel/assets/vmlinux
INITRAMFS := guestinit/initramfs/assets/initramfs.cpio
UROOT := images/uroot/assets/u-root.tar
# The commit goes into the programs where git can tell it.
VCS := $(shell git status >/dev/null 2>&1 && echo auto || echo false)
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=$(VCS) -ldflags=-s\ -w

# What make run runs in a microVM.
export MVM_JOB := echo "hello from Linux $$(uname -r) in a microVM"; id; ls /

run: build
	@if bin/mvm doctor; then \
		echo "mvm: on this machine's /dev/kvm: mvm run --rm u-root sh -c '$$MVM_JOB'"; \
		bin/mvm run --rm u-root sh -c "$$MVM_JOB"; \
	else \
		$(MAKE) --no-print-directory packages-host; \
		echo "mvm: in the virtual KVM host instead: mvm run --rm u-root sh -c '$$MVM_JOB'"; \
		go run ./e2e/vhost/vh -f mvm=bin/mvm -f mvm-vmm=bin/mvm-vmm \
			"MVM_ROOT=/tmp/mvm ./mvm run --rm u-root sh -c '$$MVM_JOB'"; \
	fi

build: $(KERNEL) $(INITRAMFS) $(UROOT)
	@echo 'mvm: building bin/mvm and bin/mvm-vmm'
	@$(GOBUILD) -o bin/ ./cmd/mvm ./cmd/mvm-vmm

kernel: $(KERNEL)
$(KERNEL): $(shell find kernel -name '*.go' -o -path 'kernel/config/*' -o -path 'kernel/flavours/*') | packages-build
	@echo 'mvm: building the guest kernel (4 minutes on 2 cores, unless it is cached)'
	@go run ./kernel/mkkernel kernel/assets
	@touch $@

$(INITRAMFS): go.mod $(wildcard guestinit/*.go guestinit/proto/*.go guestinit/initramfs/*/*.go)
	@echo 'mvm: building the initramfs'
	@go run ./guestinit/initramfs/mkinitramfs guestinit/initramfs/assets
	@touch $@

$(UROOT): go.mod $(wildcard images/uroot/*.go images/uroot/*/*.go)
	@echo 'mvm: building the default image, u-root'
	@go run ./images/uroot/mkuroot images/uroot/assets
	@touch $@

test: packages-test packages-host build
	@echo 'mvm: vetting and testing everything but e2e, with the race detector'
	@go vet ./...
	@go test -race -timeout 20m $(TESTFLAGS) $$(go list ./... | grep -v /e2e)
	@echo 'mvm: testing the programs, end to end'
	@go test -race -timeout 40m -v -count=1 $(TESTFLAGS) ./e2e/...

lint:
	@command -v golangci-lint >/dev/null || { echo 'mvm: installing golangci-lint'; go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0; }
	@PATH="$$PATH:$$(go env GOPATH)/bin" golangci-lint run ./...

fuzz:
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "mvm: fuzzing $$pkg $$target for $(FUZZTIME)"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

bench: build packages-host
	@$(GOBUILD) -o bin/bench ./internal/bench
	@if bin/mvm doctor >/dev/null 2>&1; then bin/bench $(BENCHFLAGS); else \
		echo 'mvm: measuring in the virtual KVM host'; \
		go run ./e2e/vhost/vh -f bench=bin/bench -f mvm=bin/mvm -f mvm-vmm=bin/mvm-vmm -p $$(command -v qemu-system-x86_64) \
			-f bios-microvm.bin=/usr/share/seabios/bios-microvm.bin -f pvh.bin=/usr/share/qemu/pvh.bin \
			-f qboot.rom=/usr/share/qemu/qboot.rom -f linuxboot_dma.bin=/usr/share/qemu/linuxboot_dma.bin -timeout 30m './bench -qemu ./qemu-system-x86_64 $(BENCHFLAGS)'; \
	fi

install: build
	install -D -t $(DESTDIR)$(PREFIX)/bin bin/mvm bin/mvm-vmm

clean:
	rm -rf bin
	find kernel/assets guestinit/initramfs/assets images/uroot/assets -type f ! -name README.md -delete

packages-build: NEED = $(BUILD_PACKAGES)
packages-host: NEED = $(HOST_PACKAGES)
packages-test: NEED = $(TEST_PACKAGES)
packages-build packages-host packages-test:
	@missing=''; for p in $(NEED); do \
		dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ $$(id -u) != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "mvm: these Debian packages are missing: install them as root:$$missing" >&2; exit 1; \
	fi; \
	echo "mvm: installing the Debian packages$$missing"; \
	{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$missing; } >/dev/null

# Everything about mvm begins here; each target does the set-up it needs, says
# what it does, and does it once. Caches are outside the tree: $MVM_CACHE, else
# mvm in the user's cache folder.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.PHONY: run test soak build kernel lint fuzz bench bench-noise install clean packages-build packages-host packages-test packages-bench

PREFIX ?= /usr/local
FUZZTIME ?= 10s
ROUNDS ?= 2000
# Debian packages: to fetch Go modules, build the kernel and run mvm; for the
# virtual KVM host; and the real programs that tests talk to and that measure.
BUILD_PACKAGES := ca-certificates gcc libc6-dev flex bison bc libelf-dev libssl-dev patch xz-utils e2fsprogs
HOST_PACKAGES := qemu-system-x86 busybox-static kmod
TEST_PACKAGES := erofs-utils docker-registry skopeo umoci mmdebstrap tmux zstd git sqlite3 postgresql-client
BENCH_PACKAGES := fio iperf3

KERNELS := kernel/assets/kvm/vmlinux kernel/assets/pvm/vmlinux
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
		go run ./e2e/vhost/vh -f mvm=bin/mvm -f mvm-vmm=bin/mvm-vmm -f mvm-netd=bin/mvm-netd -f mvm-fsd=bin/mvm-fsd \
			"MVM_ROOT=/tmp/mvm ./mvm run --rm u-root sh -c '$$MVM_JOB'"; \
	fi

build: $(KERNELS) $(INITRAMFS) $(UROOT)
	@echo 'mvm: building bin/mvm, bin/mvm-vmm, bin/mvm-netd and bin/mvm-fsd'
	@$(GOBUILD) -o bin/ ./cmd/mvm ./cmd/mvm-netd ./cmd/mvm-fsd
	@$(GOBUILD) -gcflags=std=-l -o bin/ ./cmd/mvm-vmm # each container has one: 120 KiB less code

kernel: $(KERNELS)
$(KERNELS): kernel/assets/%/vmlinux: $(shell find kernel -name '*.go' ! -name '*_test.go' -o -path 'kernel/config/*' -o -path 'kernel/flavours/*') | packages-build
	@echo 'mvm: the guest kernel, flavour $*: 4 minutes on 2 cores the first time, then from a cache'
	@go run ./kernel/mkkernel -flavour $* kernel/assets
	@touch $@

$(INITRAMFS): go.mod $(shell find guestinit -name "*.go" ! -name "*_test.go") | packages-build
	@echo 'mvm: building the initramfs'
	@go run ./guestinit/initramfs/mkinitramfs guestinit/initramfs/assets
	@touch $@

$(UROOT): go.mod $(wildcard images/uroot/*.go images/uroot/*/*.go) | packages-build
	@echo 'mvm: building the default image, u-root'
	@go run ./images/uroot/mkuroot images/uroot/assets
	@touch $@

test: packages-test packages-host build
	@echo 'mvm: vetting and testing everything but e2e, with the race detector'
	@go vet ./... && go vet -tags kvm,faults ./...
	@go test -race -timeout 20m $(TESTFLAGS) $$(go list ./... | grep -v '/e2e$$')
	@echo 'mvm: testing the programs, end to end'
	@go test -race -timeout 90m -v -count=1 $(TESTFLAGS) ./e2e -host

# What takes too long for make test on a kvm-pvm host, which now and then loses a
# register: more scripts there, and many rounds under injected faults and load.
soak: packages-test packages-host build
	@bin/mvm doctor | grep -q kvm-pvm || { echo 'mvm: make soak is for a kvm-pvm host, which this is not'; exit 1; }
	@echo 'mvm: $(ROUNDS) rounds of everything under injected faults and load: some ten minutes for a thousand'
	@go test -timeout 3h -v -count=1 -run '^(TestThisHost|TestFaults)$$' ./e2e -host -faults -rounds $(ROUNDS)

lint:
	@export PATH="$$PATH:$$(go env GOPATH)/bin"; \
	command -v golangci-lint >/dev/null || { echo 'mvm: installing golangci-lint'; \
		go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0; }; \
	golangci-lint run --allow-parallel-runners ./...

fuzz:
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "mvm: fuzzing $$pkg $$target for $(FUZZTIME)"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg; \
		done; \
	done

# Where mvm and QEMU both run, which kvm-pvm is not: this machine, else the virtual
# KVM host. $(1) is what is measured.
define measure
	@$(GOBUILD) -o bin/bench ./internal/bench
	@gcc -O2 -static -Wall -Wextra -Werror -o bin/micro internal/bench/micro/micro.c
	@if bin/mvm doctor >/dev/null 2>&1 && ! bin/mvm doctor | grep -q kvm-pvm; then bin/bench $(BENCHFLAGS) $(1); else \
		echo 'mvm: measuring in the virtual KVM host'; \
		go run ./e2e/vhost/vh -f bench=bin/bench -f mvm=bin/mvm -f mvm-vmm=bin/mvm-vmm -f mvm-netd=bin/mvm-netd -f mvm-fsd=bin/mvm-fsd -f micro=bin/micro -p $$(command -v qemu-system-x86_64) \
			-p $$(command -v fio) -p $$(command -v iperf3) -p $$(command -v busybox) \
			-f bios-microvm.bin=/usr/share/seabios/bios-microvm.bin -f pvh.bin=/usr/share/qemu/pvh.bin \
			-f qboot.rom=/usr/share/qemu/qboot.rom -f linuxboot_dma.bin=/usr/share/qemu/linuxboot_dma.bin -timeout 60m './bench -qemu ./qemu-system-x86_64 $(BENCHFLAGS) $(1)'; \
	fi
endef

bench: build packages-host packages-bench
	$(call measure,boot guest rates io)
	@if bin/mvm doctor | grep -q kvm-pvm; then \
		echo 'mvm: measuring on this kvm-pvm host'; bin/bench $(BENCHFLAGS) -qemu '' boot guest; \
	fi
	@go test -run '^$$' -bench '^BenchmarkLimit$$' -benchtime 1x ./devices/blk

# What a container is left with beside one that hammers its disk and the network.
bench-noise: build packages-host packages-bench
	$(call measure,noise)

install: build
	install -D -t $(DESTDIR)$(PREFIX)/bin bin/mvm bin/mvm-vmm bin/mvm-netd bin/mvm-fsd

clean:
	rm -rf bin
	find kernel/assets guestinit/initramfs/assets images/uroot/assets -type f ! -name README.md -delete

packages-build: NEED = $(BUILD_PACKAGES)
packages-host: NEED = $(HOST_PACKAGES)
packages-test: NEED = $(TEST_PACKAGES)
packages-bench: NEED = $(BENCH_PACKAGES)
packages-build packages-host packages-test packages-bench:
	@missing=''; for p in $(NEED); do \
		dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ $$(id -u) != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "mvm: these Debian packages are missing: install them as root:$$missing" >&2; exit 1; \
	fi; \
	echo "mvm: installing the Debian packages$$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get -qq update; \
	apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 --no-install-recommends install $$missing >/dev/null

# Everything mvm needs is made by these targets; each does its own set-up.
SHELL := /bin/bash
.DEFAULT_GOAL := build
.PHONY: build test lint packages

# Debian packages: to build the guest kernel, to run it, and to test for real.
PACKAGES = flex bison bc libelf-dev libssl-dev xz-utils e2fsprogs \
	qemu-system-x86 busybox-static kmod cpio erofs-utils docker-registry skopeo umoci mmdebstrap

packages:
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		echo "mvm: installing Debian packages:" $$missing; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

build:
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

test: packages
	go vet ./...
	go test -race ./...

lint:
	golangci-lint run ./...

package vhost

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
)

// Modules of the host: loaded before the snapshot is taken, after it has been
// restored (so that any job's disk works), and kept for modprobe.
const (
	earlyModules    = "virtio_pci virtio_console kvm-amd"
	lateModules     = "virtio_blk"
	onDemandModules = "tun erofs overlay loop veth bridge nf_tables nft_chain_nat nft_masq nft_nat nft_ct nft_fib_inet nft_reject_inet nft_meta_bridge nf_conntrack_netlink vhost_net vhost_vsock virtiofs"
)

// programs of this machine that the host has besides busybox.
const programs = "/sbin/mke2fs"

// kernelPackage is the name and version of the kernel package that Debian's
// linux-image-cloud-amd64 stands for now.
func kernelPackage(ctx context.Context) (string, error) {
	out, err := output(ctx, "apt-cache", "depends", "linux-image-cloud-amd64")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return "linux-image-" + name, nil
		}
	}
	return "", fmt.Errorf("linux-image-cloud-amd64 depends on no kernel: run apt-get update")
}

// unpackKernel lays the files of a kernel package in root, without installing it.
func unpackKernel(ctx context.Context, pkg, root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("download %s: %w: %s", pkg, err, out)
	}
	deb, err := one(filepath.Join(root, "*.deb"))
	if err != nil {
		return err
	}
	_, err = output(ctx, "dpkg-deb", "-x", deb, root)
	return err
}

// archive is an initramfs being made.
type archive struct {
	records []cpio.Record
	have    map[string]bool
	modules map[string]string // name, with '_' for '-', to path below root
	needs   map[string][]string
	root    string // of the kernel package
}

// buildInitramfs writes the host's initramfs: busybox, the modules with what they
// need, programs with their libraries, and init.sh.
func buildInitramfs(ctx context.Context, root, out string) error {
	a := &archive{have: map[string]bool{}, root: root}
	if err := a.index(ctx); err != nil {
		return err
	}
	for _, dir := range []string{"dev", "mnt", "proc", "root", "sys", "etc", "tmp", "run", "job", "usr", "var/tmp"} {
		a.dir(dir)
	}
	a.add(cpio.StaticFile("init", string(initScript), 0o755))
	if err := a.busybox(ctx); err != nil {
		return err
	}
	for _, p := range strings.Fields(programs) {
		if err := a.program(ctx, p); err != nil {
			return err
		}
	}
	for list, modules := range map[string]string{"early": earlyModules, "late": lateModules, "": onDemandModules} {
		if err := a.load(list, strings.Fields(modules)); err != nil {
			return err
		}
	}
	return a.write(out)
}

func (a *archive) add(r cpio.Record) {
	if !a.have[r.Name] {
		a.have[r.Name] = true
		a.dir(filepath.Dir(r.Name))
		a.records = append(a.records, r)
	}
}

func (a *archive) dir(name string) {
	if name != "." && !a.have[name] {
		a.have[name] = true
		a.dir(filepath.Dir(name))
		a.records = append(a.records, cpio.Directory(name, 0o755))
	}
}

// file adds a file of this machine as name.
func (a *archive) file(name, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	a.add(cpio.StaticFile(name, string(b), 0o755))
	return nil
}

func (a *archive) busybox(ctx context.Context) error {
	if err := a.file("bin/busybox", "/bin/busybox"); err != nil {
		return fmt.Errorf("busybox-static is needed: %w", err)
	}
	applets, err := output(ctx, "/bin/busybox", "--list")
	if err != nil {
		return err
	}
	for _, applet := range strings.Fields(applets) {
		a.add(cpio.Symlink("bin/"+applet, "busybox"))
	}
	a.add(cpio.Symlink("sbin/modprobe", "../bin/busybox"))
	return nil
}

// program adds a program with the libraries that ldd names.
func (a *archive) program(ctx context.Context, path string) error {
	if err := a.file(strings.TrimPrefix(path, "/"), path); err != nil {
		return err
	}
	libs, err := sharedLibraries(ctx, path)
	if err != nil {
		return err
	}
	for _, lib := range libs {
		if err := a.file(strings.TrimPrefix(lib, "/"), lib); err != nil {
			return err
		}
	}
	return nil
}

// sharedLibraries are the paths of the libraries, the loader among them, that a
// program of this machine is linked to; none if it is static.
func sharedLibraries(ctx context.Context, path string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", path).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "not a dynamic executable") {
			return nil, nil
		}
		return nil, fmt.Errorf("ldd %s: %w: %s", path, err, out)
	}
	var libs []string
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") {
			libs = append(libs, word)
		}
	}
	return libs, nil
}

// index reads which modules there are and what each needs.
func (a *archive) index(ctx context.Context) error {
	base, err := one(filepath.Join(a.root, "lib", "modules", "*"))
	if err != nil {
		return err
	}
	if _, err := output(ctx, "depmod", "-b", a.root, filepath.Base(base)); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(base, "modules.dep"))
	if err != nil {
		return err
	}
	defer f.Close()
	a.modules, a.needs = map[string]string{}, map[string][]string{}
	rel, err := filepath.Rel(a.root, base)
	if err != nil {
		return err
	}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		path, deps, _ := strings.Cut(sc.Text(), ":")
		path = filepath.Join(rel, path)
		a.modules[moduleName(path)] = path
		for _, d := range strings.Fields(deps) {
			a.needs[path] = append(a.needs[path], filepath.Join(rel, d))
		}
	}
	for _, name := range []string{"modules.dep", "modules.alias", "modules.builtin", "modules.order", "modules.symbols"} {
		if err := a.file(filepath.Join(rel, name), filepath.Join(base, name)); err != nil {
			return err
		}
	}
	return nil
}

// moduleName is what a module is called, from its path.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// load adds modules and what they need; those of a list are loaded by init in
// their order.
func (a *archive) load(list string, names []string) error {
	var order []string
	for _, name := range names {
		path, ok := a.modules[moduleName(name)]
		if !ok {
			continue // built in
		}
		// modules.dep lists what a module needs so that the last is loaded first.
		deps := slices.Clone(a.needs[path])
		slices.Reverse(deps)
		for _, p := range append(deps, path) {
			if err := a.file(p, filepath.Join(a.root, p)); err != nil {
				return err
			}
			if !slices.Contains(order, "/"+p) {
				order = append(order, "/"+p)
			}
		}
	}
	if list != "" {
		a.add(cpio.StaticFile("modules."+list, strings.Join(order, "\n")+"\n", 0o644))
	}
	return nil
}

func (a *archive) write(out string) error {
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(0o644))
	if err != nil {
		return err
	}
	defer f.Close()
	w := cpio.Newc.Writer(f)
	for _, r := range a.records {
		if err := w.WriteRecord(r); err != nil {
			return err
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return err
	}
	return f.Close()
}

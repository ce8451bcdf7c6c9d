package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/container"
)

// runFlags are run's flags as they were given.
type runFlags struct {
	remove, readOnly, console bool

	clientFlags

	env, envFile                 []string
	workdir, user, entrypoint    string
	name, hostname, cpus, memory string
	kernelFile, kernelArgs       string

	pull     pullPolicy
	platform string
	timeout  time.Duration
	help     bool

	life    lifeFlags
	process processFlags
	net     netFlags
	rate    rateFlags
	disk    diskFlags
	mount   mountFlags
}

// defaultMemory is enough for most services. A microVM takes of it what it
// touches; more of it lengthens the boot (16 bytes of bookkeeping per KiB).
const defaultMemory = "256m"

func (f *runFlags) register(fs *pflag.FlagSet) {
	fs.SetInterspersed(false) // what follows the image is the container's
	fs.BoolVarP(&f.interactive, "interactive", "i", false, "give the process mvm's stdin")
	fs.BoolVarP(&f.tty, "tty", "t", false, "give the process a terminal")
	fs.StringVar(&f.detachKeys, "detach-keys", defaultDetachKeys, "the `KEYS` that leave a terminal, and the container running")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "set a `VARIABLE`: NAME=value, or NAME to pass it on")
	fs.StringArrayVar(&f.envFile, "env-file", nil, "set the variables of a `FILE`")
	fs.StringVarP(&f.workdir, "workdir", "w", "", "the working `DIRECTORY`")
	fs.StringVarP(&f.user, "user", "u", "", "the `USER`: NAME|UID[:GROUP|GID]")
	fs.StringVar(&f.entrypoint, "entrypoint", "", "replace the image's entrypoint by `COMMAND`")
	fs.StringVar(&f.name, "name", "", "`NAME` the container")
	fs.StringVarP(&f.hostname, "hostname", "h", "", "the container's host `NAME` (default its ID)")
	fs.BoolVar(&f.remove, "rm", false, "remove the container when it has ended")
	fs.BoolVar(&f.readOnly, "read-only", false, "mount the root file system read-only")
	fs.StringVar(&f.cpus, "cpus", "1", "`NUMBER` of CPUs it may use; it has as many vCPUs, rounded up")
	fs.StringVarP(&f.memory, "memory", "m", defaultMemory, "`SIZE` of the microVM's memory")
	f.pull = pullMissing
	fs.Var(&f.pull, "pull", "`WHEN` to pull the image: always, missing or never")
	fs.StringVar(&f.platform, "platform", "", "choose among a multi-platform image's, as `OS/ARCH` (default linux/amd64)")
	fs.DurationVar(&f.timeout, "timeout", 0, "end the process after this `TIME` with SIGTERM, 10 s later with SIGKILL")
	fs.StringVar(&f.kernelFile, "kernel", "", "boot this kernel `FILE`: an ELF vmlinux or a bzImage")
	fs.StringVar(&f.kernelArgs, "kernel-args", os.Getenv("MVM_KERNEL_ARGS"), "add `WORDS` to the kernel's command line (default $MVM_KERNEL_ARGS)")
	fs.BoolVar(&f.console, "console", false, "show the guest's console on stderr")
	f.life.register(fs)
	f.process.register(fs)
	f.net.register(fs)
	f.rate.register(fs)
	f.disk.register(fs)
	f.mount.register(fs)
	fs.BoolVar(&f.help, "help", false, "show this help") // -h is docker's --hostname
}

// parse checks the flags, and turns them into what describes a container and
// its process.
func (f *runFlags) parse(fs *pflag.FlagSet) (o container.Options, w container.Overrides, err error) {
	o = container.Options{
		Name: f.name, Remove: f.remove, ReadOnly: f.readOnly,
		Hostname: f.hostname, Console: f.console, Timeout: f.timeout, OwnKernel: f.kernelFile != "",
	}
	w = container.Overrides{User: f.user, WorkingDir: f.workdir, Stdin: f.interactive}
	if fs.Changed("entrypoint") {
		w.Entrypoint = &f.entrypoint
	}
	if o.CPUs, err = container.ParseCPUs(f.cpus); err != nil {
		return o, w, fmt.Errorf("--cpus: %w", err)
	}
	if o.Memory, err = parseMemory(f.memory); err != nil {
		return o, w, fmt.Errorf("--memory: %w", err)
	}
	if w.Env, err = readVariables(f.envFile, f.env); err != nil {
		return o, w, err
	}
	if f.timeout > 0 && f.life.detach {
		return o, w, errors.New("--timeout is for the foreground: without -d")
	}
	if f.timeout < 0 {
		return o, w, fmt.Errorf("--timeout: %v is in the past", f.timeout)
	}
	if o.Kernel, err = parseKernel(f.kernelFile); err != nil {
		return o, w, fmt.Errorf("--kernel: %w", err)
	}
	if o.KernelArgs, err = parseKernelArgs(f.kernelArgs); err != nil {
		return o, w, fmt.Errorf("--kernel-args: %w", err)
	}
	if o.Network, err = f.net.parse(); err != nil {
		return o, w, err
	}
	if o.Limits, err = f.rate.parse(); err != nil {
		return o, w, err
	}
	if err := f.disk.parse(&o); err != nil {
		return o, w, err
	}
	if err := f.mount.parse(&o); err != nil {
		return o, w, err
	}
	return o, w, checkHostname(f.hostname)
}

// readVariables are those of --env-file, then those of --env, which win.
func readVariables(files, vars []string) ([]string, error) {
	var env []string
	for _, name := range files {
		vars, err := readEnvFile(name)
		if err != nil {
			return nil, fmt.Errorf("--env-file %s: %w", name, err)
		}
		env = append(env, vars...)
	}
	for _, s := range vars {
		v, err := container.ParseEnv(s, os.LookupEnv)
		if err != nil {
			return nil, fmt.Errorf("--env: %w", err)
		}
		env = append(env, v)
	}
	return env, nil
}

func readEnvFile(name string) ([]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return container.ParseEnvFile(file, os.LookupEnv)
}

const pageSize = 4096 // x86-64

// parseMemory reads a size as docker does ("256m" is 256 MiB), in whole pages.
func parseMemory(s string) (int64, error) {
	n, err := parseRAM(s, "256m or 2g")
	if err != nil {
		return 0, err
	}
	var host unix.Sysinfo_t
	if err := unix.Sysinfo(&host); err != nil {
		return 0, fmt.Errorf("read the host's memory: %w", err)
	}
	if total := int64(host.Totalram) * int64(host.Unit); n > total {
		return 0, fmt.Errorf("%s is more than this host's memory: want at most %dm", s, total>>20)
	}
	return (n + pageSize - 1) &^ (pageSize - 1), nil
}

// parseRAM reads a size of memory, of a page at least.
func parseRAM(s, examples string) (int64, error) {
	n, err := units.RAMInBytes(s)
	if err != nil || n < pageSize {
		return 0, fmt.Errorf("bad size %q: want a number with a unit, such as %s", s, examples)
	}
	return n, nil
}

// parseKernel finds a kernel file; what is in it is for the VMM to see.
func parseKernel(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if _, err := os.Stat(name); err != nil {
		return "", err
	}
	return filepath.Abs(name)
}

// parseKernelArgs checks words for the kernel's command line, which has no way to
// quote a line's end; how many fit is for the VMM to see.
func parseKernelArgs(words string) ([]string, error) {
	if strings.ContainsFunc(words, unicode.IsControl) {
		return nil, fmt.Errorf("%q has a control character", words)
	}
	return strings.Fields(words), nil
}

// maxHostname is Linux's __NEW_UTS_LEN.
const maxHostname = 64

func checkHostname(s string) error {
	if len(s) > maxHostname {
		return fmt.Errorf("--hostname: %q is longer than %d bytes", s, maxHostname)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' }) {
		return fmt.Errorf("--hostname: %q has a character that no host name has", s)
	}
	return nil
}

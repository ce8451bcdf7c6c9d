package launch

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// writeEtc makes the files that name resolution begins with, as docker does: the
// container's names are its own, whatever the image says.
func writeEtc(c proto.Container) error {
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	files := map[string]string{"hostname": c.Hostname + "\n", "hosts": hosts(c)}
	if c.Resolver != nil {
		files["resolv.conf"] = resolvConf(*c.Resolver)
	}
	for name, text := range files {
		path := "/etc/" + name
		// A link of the image's may point anywhere: it is replaced, not followed.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// hosts is /etc/hosts.
func hosts(c proto.Container) string {
	own := c.Addr
	if !own.IsValid() {
		own = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, h := range c.Hosts {
		fmt.Fprintf(&b, "%v\t%s\n", h.Addr, h.Name)
	}
	fmt.Fprintf(&b, "%v\t%s\n", own, c.Hostname)
	return b.String()
}

// resolvConf is /etc/resolv.conf.
func resolvConf(r proto.Resolver) string {
	var b strings.Builder
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "nameserver %v\n", s)
	}
	if len(r.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.Search, " "))
	}
	if len(r.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.Options, " "))
	}
	return b.String()
}

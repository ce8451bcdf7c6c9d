package main

import (
	"testing"

	"github.com/mvm-project/mvm/internal/hostnet"
)

func TestPortsText(t *testing.T) {
	ports, err := hostnet.ParsePorts([]string{"8080:80", "127.0.0.1:53:5353/udp", "[::1]:8000-8009:80-89"})
	if err != nil {
		t.Fatal(err)
	}
	want := "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 127.0.0.1:53->5353/udp, [::1]:8000-8009->80-89/tcp"
	if got := portsText(hostnet.Network{Ports: ports}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := portsText(hostnet.Network{}); got != "" {
		t.Error(got)
	}
}

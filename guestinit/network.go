package main

import (
	"github.com/mvm-project/mvm/guestinit/internal/rtnetlink"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// setInterface sets the machine's network interface up, if it has one.
func setInterface(i *proto.Interface) error {
	if i == nil {
		return nil
	}
	if err := rtnetlink.SetUp(*i); err != nil {
		return proto.Errorf(proto.Failed, "network: %w", err)
	}
	return nil
}

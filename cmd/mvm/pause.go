package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/container"
)

func (a *app) pauseCommand() *cobra.Command {
	return a.eachCommand("pause", "Freeze all processes of containers", "  mvm pause web", a.completeUp,
		func(ctx context.Context, c *container.Container) error {
			_, err := c.Ask(ctx, proto.Request{Freeze: &proto.Freeze{}})
			return err
		})
}

func (a *app) unpauseCommand() *cobra.Command {
	return a.eachCommand("unpause", "Let paused containers go on", "  mvm unpause web", a.completeUp,
		func(ctx context.Context, c *container.Container) error {
			_, err := c.Ask(ctx, proto.Request{Freeze: &proto.Freeze{Thaw: true}})
			return err
		})
}

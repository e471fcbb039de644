//go:build !linux

package main

import (
	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

// commands leave out what floods: it needs Linux's namespaces.
func commands(env cli.Env) []*cobra.Command {
	return []*cobra.Command{compareCommand(env), knocktimeCommand(env)}
}

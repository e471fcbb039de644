//go:build !linux

package main

import (
	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

// commands returns the commands that do not flood: floods require Linux.
func commands(env cli.Env) []*cobra.Command {
	return []*cobra.Command{compareCommand(env), reportCommand(env), knocktimeCommand(env)}
}

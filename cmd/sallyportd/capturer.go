package main

import (
	"errors"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
)

const capturerName = "capture-helper"

// capturerCommand is the process that captures packets for "serve", which starts it.
func capturerCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:    capturerName,
		Short:  "Capture packets for a server; the server starts this command itself",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			settings := cfg.Captured()
			if settings == nil {
				return cli.Misuse(errors.New("the configuration captures no packets"))
			}
			setLogFormat(cfg)
			log := openLog(env, logSettings{path: path})
			defer log.stop()
			return privilege.CaptureFor(privilege.Capturing{User: cfg.User, Settings: *settings}, log.Logger)
		},
	}
	addConfigFlag(c, env, &path)
	return c
}

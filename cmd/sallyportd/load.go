package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
)

const (
	defaultConfig  = "/etc/sallyport/sallyportd.toml"
	configVariable = "SALLYPORTD_CONFIG"
)

// addConfigFlag adds the flag that names the configuration. The hints of the
// command's errors then name it too, so RunE must be set already.
func addConfigFlag(c *cobra.Command, env cli.Env, path *string) {
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error { return hintsFor(*path, run(c, args)) }
	c.Flags().StringVarP(path, "config", "c", cmp.Or(env.Variable(configVariable), defaultConfig),
		"the configuration `file`; without the flag, the variable "+configVariable+" of the environment names it")
}

// loadAll reads a configuration, the files that need names, and the clients. Its errors,
// and those of the functions below, are marked as misuse if nothing but a file is wrong.
func loadAll(ctx context.Context, env cli.Env, path string, need config.Need) (*config.Config, clients.List, error) {
	cfg, err := config.Load(path, need)
	if err != nil {
		return nil, nil, cli.Misuse(err)
	}
	list, err := clientsOf(cfg, env).read(ctx, cfg.ServiceNames())
	return cfg, list, err
}

// loadLenient is loadAll, but accepts unknown and unreadable services in the
// list: the commands that fix them must read the list too.
func loadLenient(ctx context.Context, env cli.Env, path string, need config.Need) (*config.Config, clients.List, error) {
	cfg, err := config.Load(path, need)
	if err != nil {
		return nil, nil, cli.Misuse(err)
	}
	list, err := clientsOf(cfg, env).read(ctx, nil)
	return cfg, list, err
}

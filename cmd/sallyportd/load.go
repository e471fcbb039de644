package main

import (
	"os"

	"github.com/spf13/cobra"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
)

const (
	defaultConfig  = "/etc/sallyport/sallyportd.toml"
	configVariable = "SALLYPORTD_CONFIG"
)

// configPath is where the configuration is, if no flag says so.
func configPath() string {
	if path := os.Getenv(configVariable); path != "" {
		return path
	}
	return defaultConfig
}

func addConfigFlag(c *cobra.Command, path *string) {
	c.Flags().StringVarP(path, "config", "c", configPath(), "the configuration `file`; "+configVariable+" in the environment names it too")
}

// loadAll reads a configuration, so much of what it refers to, and its clients.
func loadAll(path string, need config.Need) (*config.Config, clients.List, error) {
	cfg, err := config.Load(path, need)
	if err != nil {
		return nil, nil, err
	}
	list, err := clients.Load(cfg.ClientsPath, cfg.ServiceNames())
	return cfg, list, err
}

// loadLenient is loadAll, but for what the clients file says of services:
// commands that fix it have to read it, whatever that is.
func loadLenient(path string, need config.Need) (*config.Config, clients.List, error) {
	cfg, err := config.Load(path, need)
	if err != nil {
		return nil, nil, err
	}
	list, err := clients.Load(cfg.ClientsPath, nil)
	return cfg, list, err
}

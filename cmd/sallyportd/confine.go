package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/cmd/sallyportd/internal/sandbox"
	"sallyport/sessions/durable"
)

// confineServer takes away from this process what a server with the configuration at a
// path does not need. It returns this configuration.
func confineServer(path string, resumed privilege.Resumed, log *slog.Logger) (*config.Config, sandbox.Report, error) {
	cfg, err := config.Load(path, config.Alone)
	if err != nil {
		return nil, sandbox.Report{}, cli.Misuse(err)
	}
	makeState(cfg)
	others := len(cfg.Programs()) > 0 || resumed.Client != nil || resumed.Capturer != nil
	report, err := sandbox.Confine(sandbox.Server(cfg.Files(), others), log)
	return cfg, report, err
}

// makeState makes the state directory, which must be there to be excepted. Without a holder,
// a server whose files are faulty must change nothing; with one, it hides the services
// nevertheless, and locks the directory before. The errors are those of newServer.
func makeState(cfg *config.Config) {
	if _, err := os.Stat(cfg.StateDir); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	host, err := privilege.Probe()
	if err == nil && cfg.NeedsFirewall(host) == "" && cfg.Shield == nil {
		err = readOnce(cfg)
	}
	if err == nil {
		durable.MkdirAll(cfg.StateDir, 0o700)
	}
}

// readOnce returns an error if a file of the configuration is faulty.
func readOnce(cfg *config.Config) error {
	all, err := config.Load(cfg.Path, config.All)
	if err == nil && !all.FleetClients {
		_, err = clients.Read(all.ClientsPath, all.SecretFiles, all.ServiceNames())
	}
	return err
}

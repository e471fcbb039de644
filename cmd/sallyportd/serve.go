package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

const defaultConfig = "/etc/sallyport/sallyportd.toml"

func serveCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Take knocks, and open the service for those who knock correctly",
		Long: `Take knocks, and open the service for those who knock correctly.

Needs no privilege for itself. SIGINT and SIGTERM close everything in order,
the second one at once.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return cli.Misuse(err)
			}
			log := slog.New(slog.NewTextHandler(env.Stderr, nil))
			s, err := newServer(cfg, env.Now, log)
			if err != nil {
				return fmt.Errorf("start: %w", err)
			}
			if len(cfg.clients) == 0 {
				log.Warn("the clients file names no client: nobody can get in")
			}
			go func() {
				<-s.ingest.Ready()
				log.Info("serving", "clients", len(cfg.clients), "ports", cfg.ports, "generator", cfg.generator,
					"clock_tolerance", cfg.tolerance, "service", cfg.service.name, "at", cfg.service.listen)
			}()
			err = s.run(c.Context())
			log.Info("stopped")
			return err
		},
	}
	c.Flags().StringVarP(&path, "config", "c", defaultConfig, "the configuration `file`")
	return c
}

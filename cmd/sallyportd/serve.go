package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/gate"
)

const (
	defaultConfig  = "/etc/sallyport/sallyportd.toml"
	configVariable = "SALLYPORTD_CONFIG"
)

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
			done := sparingly()
			cfg, err := loadConfig(path)
			if err != nil {
				return cli.Misuse(err)
			}
			log := slog.New(slog.NewTextHandler(env.Stderr, nil))
			if err := checkService(cfg, log); err != nil {
				return err
			}
			s, err := newServer(c.Context(), cfg, env.Now, log)
			if err != nil {
				return fmt.Errorf("start: %w", err)
			}
			if s.clients == 0 {
				log.Warn("the clients file names no client: nobody can get in")
			}
			// What was read is now in tables of its own.
			cfg.clients = nil
			done()
			err = serve(c.Context(), s, cfg, log)
			log.Info("stopped")
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

// checkService says early what would else be found out with the first grant.
func checkService(cfg config, log *slog.Logger) error {
	err := gate.Bindable(cfg.service.listen)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		log.Warn("the service's address is not there yet", "at", cfg.service.listen)
		return nil
	}
	if err != nil {
		return cli.WithHint(fmt.Errorf("the service cannot listen at %s: %w", cfg.service.listen, err), "another program holds the port, or it takes a privilege; see service.listen in "+cfg.path)
	}
	return nil
}

// serve runs the server, and says when it is there.
func serve(ctx context.Context, s *server, cfg config, log *slog.Logger) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// From here on SIGHUP means reload, though it is only heard when we serve.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	var g errgroup.Group
	g.Go(func() error {
		defer stop()
		return s.run(ctx)
	})
	g.Go(func() error {
		select {
		case <-s.ingest.Ready():
			tellServing(s, cfg, log)
			return control(ctx, s, cfg, hangups, log)
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

func tellServing(s *server, cfg config, log *slog.Logger) {
	attrs := []any{"clients", s.clients, "ports", cfg.ports, "generator", cfg.generator,
		"clock_tolerance", cfg.tolerance, "service", cfg.service.name, "at", cfg.service.listen, "kernel_filter", s.ingest.Stats().Filter}
	if s.ingest.Stats().Open == 0 {
		log.Warn("not one knock port could be opened", attrs...)
		return
	}
	log.Info("serving", attrs...)
}

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

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
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
		Short: "Take knocks, and open services for those who knock correctly",
		Long: `Take knocks, and open services for those who knock correctly.

Needs no privilege for itself, and keeps none: what it was started with it
sheds. Only for services of type "firewall", and for stealth, a second process
keeps CAP_NET_ADMIN. SIGINT and SIGTERM close everything in order, the second
one at once.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, _, cfg, err := readConfig(path)
			if err != nil {
				return cli.Misuse(err)
			}
			helper, err := separate(cfg)
			if err != nil {
				return err
			}
			done := sparingly()
			if cfg, err = loadConfig(path); err != nil {
				return cli.Misuse(err)
			}
			log := slog.New(slog.NewTextHandler(env.Stderr, nil))
			if os.Geteuid() == 0 {
				log.Warn("runs as root, though without root's privileges: it may still change what root owns; set \"user\" in the configuration")
			}
			if err := checkServices(cfg, log); err != nil {
				return err
			}
			s, err := newServer(c.Context(), cfg, helper, env.Now, log)
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

// checkServices says early what would else be found out with the first grant.
func checkServices(cfg config, log *slog.Logger) error {
	for _, s := range cfg.services {
		if s.kind == "firewall" {
			continue
		}
		err := gate.Bindable(s.protocol(), s.listen)
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			log.Warn("a service's address is not there yet", "service", s.name, "at", s.listen)
			continue
		}
		if err != nil {
			return cli.WithHint(fmt.Errorf("service %s cannot listen at %s: %w", s.name, s.listen, err), "another program holds the port, or it takes a privilege; see its \"listen\" in "+cfg.path)
		}
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
		"clock_tolerance", cfg.tolerance, "services", strings.Join(cfg.serviceNames(), ","), "firewall", s.helper != nil, "kernel_filter", s.ingest.Stats().Filter}
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

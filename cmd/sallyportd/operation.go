package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
)

func operationCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "operation", Short: "Hand out what clients need for the challenge–response protocol"})
	group.AddCommand(operationProfileCommand(env))
	return group
}

func operationProfileCommand(env cli.Env) *cobra.Command {
	var path, server, out string
	c := &cobra.Command{
		Use:   "profile ID",
		Short: "Print the profile with which a client asks for an operation",
		Long: `Print the profile with which a client asks for an operation.

It holds the operation's secret. "sallyport knock" takes it as it is; to have
both protocols in one profile, put its [challenge] tables into a client's.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return cli.Misuse(err)
			}
			text, err := cfg.operationProfile(args[0], server)
			if err != nil {
				return cli.Misuse(err)
			}
			if _, idle := cfg.usable(); len(idle) > 0 {
				for _, why := range idle {
					fmt.Fprintf(env.Stderr, "warning: %s\n", why)
				}
			}
			if out == "" {
				_, err = env.Stdout.Write(text)
				return err
			}
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return cli.Misuse(fmt.Errorf("--out: %w", err))
			}
			_, err = f.Write(text)
			if closeErr := f.Close(); err == nil {
				err = closeErr
			}
			if err != nil {
				os.Remove(out)
			}
			return err
		},
	}
	c.Flags().StringVar(&server, "server", "", "the host `name` or address by which the client reaches the server (default \"server\" of the configuration)")
	c.Flags().StringVar(&out, "out", "", "write the profile to a new `file`, for this user only, instead of printing it")
	addConfigFlag(c, &path)
	return c
}

func (cfg config) operationProfile(id, server string) ([]byte, error) {
	if server == "" {
		server = cfg.server
	}
	if server == "" {
		return nil, cli.WithHint(fmt.Errorf("the profile has to name the server, and %s does not say how clients reach it", cfg.path), "give --server NAME, or set \"server\" there")
	}
	var known []string
	for _, o := range cfg.operations {
		if known = append(known, o.id); o.id != id {
			continue
		}
		p := profile.Operation{
			Server: server, ID: o.id, Secret: o.secret, Algorithm: o.algorithm, RandomPort: o.random,
			Request: cfg.challenge.plan.Request, Response: cfg.challenge.plan.Response,
		}
		if s := cfg.services[o.service]; !s.udp && !o.close && !o.random {
			p.Service = fmt.Sprintf(":%d", s.port())
		}
		text, err := profile.FormatOperation(p)
		if err != nil {
			return nil, fmt.Errorf("write the profile: %w", err)
		}
		// What is handed out must be readable.
		if _, err := profile.Parse("profile", text); err != nil {
			return nil, fmt.Errorf("the profile would not be valid: %w", err)
		}
		return text, nil
	}
	return nil, fmt.Errorf("there is no operation %q in %s, but %s", id, cfg.path, strings.Join(known, ", "))
}

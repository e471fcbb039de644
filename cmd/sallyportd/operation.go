package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/sallyportd/internal/config"
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
			cfg, list, err := loadAll(path, config.Secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			text, err := operationProfile(cfg, args[0], server)
			if err != nil {
				return cli.Misuse(err)
			}
			_, unusable := cfg.Usable(list.Rights(cfg.OperationClients()))
			for _, why := range unusable {
				fmt.Fprintf(env.Stderr, "warning: %s\n", why)
			}
			if out == "" {
				_, err = env.Stdout.Write(text)
				return err
			}
			if err := secretfile.Create(out, text); err != nil {
				return cli.Misuse(fmt.Errorf("--out: %w", err))
			}
			return nil
		},
	}
	c.Flags().StringVar(&server, "server", "", "the host `name` or address by which the client reaches the server (default \"server\" of the configuration)")
	c.Flags().StringVar(&out, "out", "", "write the profile to a new `file`, for this user only, instead of printing it")
	addConfigFlag(c, &path)
	return c
}

func operationProfile(cfg *config.Config, id, server string) ([]byte, error) {
	if server == "" {
		server = cfg.Server
	}
	if server == "" {
		return nil, cli.WithHint(fmt.Errorf("the profile has to name the server, and %s does not say how clients reach it", cfg.Path), "give --server NAME, or set \"server\" there")
	}
	var known []string
	for _, o := range cfg.Operations {
		if known = append(known, o.ID); o.ID != id {
			continue
		}
		p := profile.Operation{
			Server: server, ID: o.ID, Secret: o.Secret, Algorithm: o.Algorithm, RandomPort: o.RandomPort,
			Request: cfg.Challenge.Plan.Request, Response: cfg.Challenge.Plan.Response,
		}
		if s := cfg.Service(o.Service); !s.UDP && !o.Close && !o.RandomPort {
			p.Service = fmt.Sprintf(":%d", s.Port())
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
	return nil, fmt.Errorf("there is no operation %q in %s, but %s", id, cfg.Path, strings.Join(known, ", "))
}

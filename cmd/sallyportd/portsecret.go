package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/durable"
)

// rollResult is the result of "port-secret roll" for programs.
type rollResult struct {
	Changed       bool      `json:"changed"`
	PreviousUntil time.Time `json:"previous_until"` // the ports of the old secret stay open
	Clients       []string  `json:"clients"`        // that need a new profile
	Server        string    `json:"server"`         // as of clientResult
}

func portSecretCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "port-secret", Short: "Change the secret from which the knock ports are computed"})
	var path string
	var valid validity
	var asJSON, end bool
	roll := &cobra.Command{
		Use:   "roll",
		Short: "Make a new port secret; the ports of the old one stay open for a while",
		Long: `Make a new port secret; the ports of the old one stay open for a while.

Every client needs a new profile by then. The command waits until the running
server, if there is one, has read its configuration again.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if end && valid.given() {
				return cli.Misuse(errors.New("--end excludes --for and --until"))
			}
			until, err := valid.end(env)
			if err != nil {
				return cli.Misuse(err)
			}
			cfg, err := config.Load(path, config.Secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			unlock, err := clients.Lock(c.Context(), cfg.Path)
			if err != nil {
				return hint.Writing(fmt.Errorf("lock the configuration: %w", err))
			}
			defer unlock()
			cfg, list, err := loadAll(c.Context(), env, path, config.Secrets) // again, because another roll may have changed it
			if err != nil {
				return err
			}
			if end {
				return endRoll(c.Context(), env, cfg, asJSON)
			}
			if err := rollPortSecret(cfg, env, until); err != nil {
				return err
			}
			result := rollResult{Changed: true, PreviousUntil: until, Clients: []string{}}
			for _, c := range list {
				result.Clients = append(result.Clients, c.Identifier.String())
			}
			running, err := askServer(c.Context(), cfg, reloadAll(c.Context()))
			if err != nil {
				err = notReloaded("made a new port secret", err)
			}
			if asJSON {
				result.Server = serverState(running, err)
				return errors.Join(env.Out().JSON(result), err)
			}
			if err != nil {
				return err
			}
			next := ""
			if len(list) > 0 {
				next = fmt.Sprintf("\nNext, give each client its new profile:\n  sallyportd client profile --all --out-dir DIR -c %s\n", quoted(cfg.Path))
			}
			old := "stay open until " + env.Time(until)
			if !until.After(env.Now()) {
				old = "are closed"
			}
			return env.Out().Printf("Made a new port secret. The ports of the old one %s.\n%s\n%s", old, serverLine(cfg, running), next)
		},
	}
	roll.Flags().BoolVar(&end, "end", false, "make no new secret, but end the last roll now: the ports of the old secret close")
	valid.flags(roll)
	cli.AddJSONFlag(roll, &asJSON)
	addConfigFlag(roll, env, &path)
	group.AddCommand(roll)
	return group
}

// endRoll removes the previous port secret from the configuration, and then its file.
// The caller holds the lock of the configuration.
func endRoll(ctx context.Context, env cli.Env, cfg *config.Config, asJSON bool) error {
	if cfg.PortSecret.Previous == "" {
		return cli.Misuse(fmt.Errorf("%s has no previous port secret", cfg.Path))
	}
	text, info, err := readWhole(cfg.Path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	edited, err := setKeys(string(text), "", [][2]string{
		{"port_secret_previous", ""}, {"port_secret_previous_file", ""}, {"port_secret_previous_until", ""},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", cfg.Path, err)
	}
	next, err := config.Parse(cfg.Path, []byte(edited))
	if err != nil || next.PortSecret.Previous != "" || !next.PortSecret.Until.IsZero() {
		return cli.WithHint(fmt.Errorf("cannot find the lines of the previous port secret in %s", cfg.Path),
			"remove the port_secret_previous keys there, then: sallyportd reload")
	}
	if err := durable.WriteFile(cfg.Path, []byte(edited), info.Mode().Perm()); err != nil {
		return hint.Writing(fmt.Errorf("write the configuration: %w", err))
	}
	running, err := askServer(ctx, cfg, reloadAll(ctx))
	if err != nil {
		err = notReloaded("removed the previous port secret from "+cfg.Path, err)
	} else {
		removePrevious(cfg)
	}
	if asJSON {
		return errors.Join(env.Out().JSON(rollResult{
			Changed: true, PreviousUntil: env.Now().UTC().Truncate(time.Second), Clients: []string{}, Server: serverState(running, err),
		}), err)
	}
	if err != nil {
		return err
	}
	return env.Out().Printf("Removed the previous port secret from %s. Profiles with it open nothing.\n%s\n", cfg.Path, serverLine(cfg, running))
}

// removePrevious removes the file that a roll made for the previous secret. The
// configuration no longer names it.
func removePrevious(cfg *config.Config) {
	if cfg.PortSecret.Path == "" {
		return
	}
	path := previousPath(cfg.PortSecret)
	if text, _, err := readWhole(path); err == nil && strings.TrimSpace(string(text)) == cfg.PortSecret.Previous {
		durable.Remove(path)
	}
}

// previousPath returns where a roll keeps the previous secret.
func previousPath(s config.PortSecret) string { return s.Path + ".previous" }

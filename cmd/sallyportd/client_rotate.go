package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
)

// rotationTime is how long a client's old secret, or the old port secret,
// stays good by default.
const rotationTime = 7 * 24 * time.Hour

func clientRotateCommand(env cli.Env) *cobra.Command {
	var path string
	var valid validity
	var out profileOutput
	c := &cobra.Command{
		Use:   "rotate IDENTIFIER",
		Short: "Give a client a new secret, and print its new profile",
		Long: `Give a client a new secret, and print its new profile.

The old secret stays good for a while, so that the client can move in peace.
Waits until the running server, if there is one, has taken the new one. If the
server refuses, the exit code is 1 and the error says why.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			until, err := valid.end(env.Now())
			if err != nil {
				return cli.Misuse(err)
			}
			cfg, rotated, err := loadClient(path, args[0], config.Secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			if err := raiseMark(c.Context(), cfg, &rotated); err != nil {
				return err
			}
			secret := []byte(secrets.Random())
			rotated.Previous, rotated.Until, rotated.Secret = rotated.Secret, until, secret
			err = out.deliver(env, cfg, rotated, func() error {
				err := clients.Edit(c.Context(), cfg.ClientsPath, func(lines []clients.Line) ([]clients.Line, error) {
					i, err := clients.Find(lines, rotated.Identifier)
					if err != nil {
						return nil, err
					}
					current := lines[i].Client
					if current.Previous != nil && env.Now().Before(current.Until) {
						return nil, cli.Misuse(cli.WithHint(fmt.Errorf("client %s is in the midst of a rotation, until %s", current.Identifier, current.Until.Format(time.RFC3339)), "\"client profile\" prints its new profile again; \"client revoke\" ends both secrets"))
					}
					current.Previous, current.Until, current.Secret = current.Secret, until, secret
					return lines, nil
				})
				if err == nil {
					fmt.Fprintf(env.Stderr, "The old secret of %s is good until %s.\n", rotated.Identifier, until.Format(time.RFC3339))
				}
				return err
			})
			if err != nil {
				return err
			}
			return sayInForce(c.Context(), env, cfg, fmt.Sprintf("client %s has its new secret", rotated.Identifier))
		},
	}
	valid.flags(c)
	out.flags(c)
	addConfigFlag(c, &path)
	return c
}

// validity is until when something old stays good.
type validity struct {
	duration time.Duration
	until    string
}

func (v *validity) flags(c *cobra.Command) {
	c.Flags().DurationVar(&v.duration, "for", rotationTime, "how long the old secret stays good")
	c.Flags().StringVar(&v.until, "until", "", "the `time` until when it stays good, such as 2026-12-01T00:00:00Z, instead of --for")
}

func (v *validity) end(now time.Time) (time.Time, error) {
	end := now.Add(v.duration)
	if v.until != "" {
		var err error
		if end, err = time.Parse(time.RFC3339, v.until); err != nil {
			return end, fmt.Errorf("--until: expected a time such as 2026-12-01T00:00:00Z, got %q", v.until)
		}
	}
	if end.Before(now) {
		return end, fmt.Errorf("the old secret would have ended at %s: expected a time to come", end.UTC().Format(time.RFC3339))
	}
	return end.UTC().Truncate(time.Second), nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/verify/wire"
)

// rotationTime is how long a client's old secret, or the old port secret, stays
// valid by default.
const rotationTime = 7 * 24 * time.Hour

func clientRotateCommand(env cli.Env) *cobra.Command {
	var path string
	var valid validity
	var end bool
	out := profileOutput{undone: "the client keeps its secret", replaces: true}
	c := &cobra.Command{
		Use:        "rotate IDENTIFIER",
		SuggestFor: []string{"renew"},
		Short:      "Give a client a new secret, and print its new profile",
		Long: `Give a client a new secret, and print its new profile.

The old secret stays valid for a while, so that the client has time to switch.
The new secret has all nonces before it.

The command waits until the running server, if there is one, has applied the
change. If the server refuses it, the exit code is 1, and the error is the reason.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if end {
				if valid.given() || out.given() {
					return cli.Misuse(errors.New("--end excludes --for, --until, --server, --out and --qr"))
				}
				return endRotation(c.Context(), env, path, args[0], out.asJSON)
			}
			until, err := valid.end(env)
			if err != nil {
				return cli.Misuse(err)
			}
			cfg, list, rotated, err := loadClient(c.Context(), env, path, args[0], config.Secrets)
			if err != nil {
				return err
			}
			secret := []byte(secrets.Random())
			rotated.Rotate(secret, until)
			rotated.HighestNonce = 0 // for the profile: that of the old secret
			printed, err := out.deliver(c.Context(), env, cfg, list, rotated, func() error {
				ids := []wire.Identifier{rotated.Identifier}
				return clientsOf(cfg, env).edit(c.Context(), ids, func(lines []clients.Line) ([]clients.Line, error) {
					i, err := clients.Find(lines, rotated.Identifier)
					if err != nil {
						return nil, err
					}
					current := lines[i].Client
					if current.Previous != nil && env.Now().Before(current.Until) {
						return nil, cli.Misuse(cli.WithHint(
							fmt.Errorf("the last rotation of client %s has not ended: its old secret is valid until %s", current.Identifier, env.Time(current.Until)),
							fmt.Sprintf("\"sallyportd client profile %[1]s\" prints the new profile again; \"sallyportd client rotate %[1]s --end\" ends the old secret now, and \"sallyportd client revoke %[1]s\" both", current.Identifier)))
					}
					current.Rotate(secret, until)
					return lines, nil
				})
			})
			if err != nil {
				return err
			}
			if !out.asJSON {
				line := "is valid until " + env.Time(until)
				if !until.After(env.Now()) {
					line = "is no longer valid"
				}
				env.Err().Printf("The old secret of %s %s.\n", rotated.Identifier, line)
			}
			result := clientResult{Identifier: rotated.Identifier.String(), Changed: true, PreviousUntil: &until}
			result.add(printed)
			change := fmt.Sprintf("client %s has its new secret", rotated.Identifier)
			return out.finish(c.Context(), env, cfg, change, result)
		},
	}
	c.Flags().BoolVar(&end, "end", false, "make no new secret, but end the last rotation now: the old secret is no longer valid")
	valid.flags(c)
	out.flags(c)
	addConfigFlag(c, env, &path)
	return c
}

// endRotation removes the old secret of a client.
func endRotation(ctx context.Context, env cli.Env, path, name string, asJSON bool) error {
	cfg, _, client, err := loadClient(ctx, env, path, name, config.Alone)
	if err != nil {
		return err
	}
	list := clientsOf(cfg, env)
	err = list.edit(ctx, []wire.Identifier{client.Identifier}, func(lines []clients.Line) ([]clients.Line, error) {
		i, err := clients.Find(lines, client.Identifier)
		if err != nil {
			return nil, err
		}
		current := lines[i].Client
		if current.Previous == nil {
			return nil, cli.Misuse(fmt.Errorf("client %s has no old secret", client.Identifier))
		}
		current.EndRotation()
		return lines, nil
	})
	if err != nil {
		return err
	}
	running, err := applyChange(ctx, cfg, fmt.Sprintf("the old secret of client %s is removed", client.Identifier), list.apply(ctx))
	result := clientResult{Identifier: client.Identifier.String(), Changed: true}
	if asJSON {
		result.setServer(running, err)
		return errors.Join(env.Out().JSON(result), err)
	}
	if err != nil {
		return err
	}
	return env.Out().Printf("The old secret of client %s is no longer valid. If it was valid until now, the client's leases end, and it knocks again.\n%s\n",
		client.Identifier, serverLine(cfg, running))
}

// validity is how long an old secret stays valid.
type validity struct {
	duration time.Duration
	until    string
	both     func() bool // both flags are given
	given    func() bool // one of the flags is given
}

func (v *validity) flags(c *cobra.Command) {
	c.Flags().DurationVar(&v.duration, "for", rotationTime, "how long the old secret stays valid")
	c.Flags().StringVar(&v.until, "until", "", "the `time` until which it stays valid, such as 2026-12-01T00:00:00Z, instead of --for")
	v.given = func() bool { return c.Flags().Changed("for") || c.Flags().Changed("until") }
	v.both = func() bool { return c.Flags().Changed("for") && c.Flags().Changed("until") }
}

// end returns the time at which the old secret expires.
func (v *validity) end(env cli.Env) (time.Time, error) {
	if v.both() {
		return time.Time{}, errors.New("--for and --until exclude each other")
	}
	now := env.Now()
	end := now.Add(v.duration)
	if v.until != "" {
		var err error
		if end, err = time.Parse(time.RFC3339, v.until); err != nil {
			return end, fmt.Errorf("--until: expected a time such as 2026-12-01T00:00:00Z, got %q", v.until)
		}
	}
	if end.Before(now) {
		return end, fmt.Errorf("expected a future time for the end of the old secret, got %s", env.Time(end))
	}
	return end.UTC().Truncate(time.Second), nil
}

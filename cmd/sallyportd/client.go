package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/verify/wire"
)

// rotationTime is how long a client's old secret, or the old port secret,
// stays good by default.
const rotationTime = 7 * 24 * time.Hour

func clientCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "client", Short: "Add, list, restrict, rotate and revoke clients"})
	group.AddCommand(clientAddCommand(env), clientListCommand(env), clientProfileCommand(env), clientAllowCommand(env), clientRotateCommand(env), clientRevokeCommand(env))
	return group
}

func clientAddCommand(env cli.Env) *cobra.Command {
	var path, note string
	var services []string
	var out profileOutput
	c := &cobra.Command{
		Use:   "add [IDENTIFIER]",
		Short: "Register a client with a random secret, and print its profile",
		Long: `Register a client with a random secret, and print its profile.

Without an identifier a random one is made; hard to guess is better, since
knocks in the name of nobody cost the server next to nothing. Make one client
a device: two devices with one profile take each other's nonces. A running
server notices the new client by itself.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if strings.ContainsAny(note, "\r\n") {
				return cli.Misuse(errors.New("--note: expected text on a single line"))
			}
			cfg, err := loadConfig(path)
			if err != nil {
				return cli.Misuse(err)
			}
			added := registered{secret: []byte(randomSecret()), note: strings.TrimSpace(note), services: strings.Join(services, ",")}
			if err := added.allowable(cfg); err != nil {
				return cli.Misuse(err)
			}
			if len(args) == 1 {
				if added.identifier, err = parseFileIdentifier(args[0]); err != nil {
					return cli.Misuse(err)
				}
			} else {
				added.identifier = unusedIdentifier(cfg.clients)
			}
			if err := raiseMark(c.Context(), cfg, &added); err != nil {
				return err
			}
			return out.deliver(env, cfg, added, func() error {
				return editClients(c.Context(), cfg.clientsPath, func(lines []clientLine) ([]clientLine, error) {
					if _, err := find(lines, added.identifier); err == nil {
						return nil, cli.Misuse(cli.WithHint(fmt.Errorf("client %s is there already", added.identifier), "choose another identifier, or leave it out for a random one"))
					}
					return append(lines, clientLine{client: &added}), nil
				})
			})
		},
	}
	c.Flags().StringVar(&note, "note", "", "whose device it is, for the list")
	c.Flags().StringSliceVar(&services, "services", nil, "the `names` of the services that it may open, divided by commas (default all)")
	out.flags(c)
	addConfigFlag(c, &path)
	return c
}

func unusedIdentifier(clients []registered) wire.Identifier {
	used := map[wire.Identifier]bool{}
	for _, c := range clients {
		used[c.identifier] = true
	}
	for {
		if id := randomIdentifier(); !used[id] {
			return id
		}
	}
}

func clientListCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the clients, without secrets",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadToMend(path)
			if err != nil {
				return cli.Misuse(err)
			}
			w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
			record, err := nonceRecord(c.Context(), cfg)
			if err != nil {
				fmt.Fprintf(env.Stderr, "warning: the record of used nonces is not whole: %v\n", err)
			}
			fmt.Fprintln(w, "CLIENT\tSERVICES\tNONCE\tLAST IN\tOLD SECRET UNTIL\tNOTE")
			for _, c := range cfg.clients {
				until := "-"
				if c.previous != nil && env.Now().Before(c.until) {
					until = c.until.UTC().Format(time.RFC3339)
				}
				last := "-"
				if e, ok := record[c.identifier]; ok {
					last = time.Unix(int64(e.Stamp), 0).UTC().Format(time.RFC3339)
				}
				services := c.services
				if services == "" {
					services = "all"
				}
				if err := c.checkServices(cfg.serviceNames()); err != nil {
					fmt.Fprintf(env.Stderr, "warning: client %s: %v; %s\n", c.identifier, err, c.mending())
				}
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", c.identifier, services, max(c.mark, record[c.identifier].Mark), last, until, c.note)
			}
			return w.Flush()
		},
	}
	addConfigFlag(c, &path)
	return c
}

func clientProfileCommand(env cli.Env) *cobra.Command {
	var path string
	var out profileOutput
	c := &cobra.Command{
		Use:   "profile IDENTIFIER",
		Short: "Print a client's profile again, with the port secret of now",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, existing, err := loadClient(path, args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			if err := raiseMark(c.Context(), cfg, &existing); err != nil {
				return err
			}
			return out.deliver(env, cfg, existing, func() error { return nil })
		},
	}
	out.flags(c)
	addConfigFlag(c, &path)
	return c
}

func clientRotateCommand(env cli.Env) *cobra.Command {
	var path string
	var valid validity
	var out profileOutput
	c := &cobra.Command{
		Use:   "rotate IDENTIFIER",
		Short: "Give a client a new secret, and print its new profile",
		Long: `Give a client a new secret, and print its new profile.

The old secret stays good for a while, so that the client can move in peace.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			until, err := valid.end(env.Now())
			if err != nil {
				return cli.Misuse(err)
			}
			cfg, rotated, err := loadClient(path, args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			if err := raiseMark(c.Context(), cfg, &rotated); err != nil {
				return err
			}
			secret := []byte(randomSecret())
			rotated.previous, rotated.until, rotated.secret = rotated.secret, until, secret
			return out.deliver(env, cfg, rotated, func() error {
				err := editClients(c.Context(), cfg.clientsPath, func(lines []clientLine) ([]clientLine, error) {
					i, err := find(lines, rotated.identifier)
					if err != nil {
						return nil, err
					}
					current := lines[i].client
					if current.previous != nil && env.Now().Before(current.until) {
						return nil, cli.Misuse(cli.WithHint(fmt.Errorf("client %s is in the midst of a rotation, until %s", current.identifier, current.until.Format(time.RFC3339)), "\"client profile\" prints its new profile again; \"client revoke\" ends both secrets"))
					}
					current.previous, current.until, current.secret = current.secret, until, secret
					return lines, nil
				})
				if err == nil {
					fmt.Fprintf(env.Stderr, "The old secret of %s is good until %s.\n", rotated.identifier, until.Format(time.RFC3339))
				}
				return err
			})
		},
	}
	valid.flags(c)
	out.flags(c)
	addConfigFlag(c, &path)
	return c
}

func clientRevokeCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "revoke IDENTIFIER",
		Short: "Remove a client; a running server cuts it off",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, revoked, err := loadClient(path, args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			err = editClients(c.Context(), cfg.clientsPath, func(lines []clientLine) ([]clientLine, error) {
				i, err := find(lines, revoked.identifier)
				if err != nil {
					return nil, err
				}
				return append(lines[:i], lines[i+1:]...), nil
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, `Revoked %s. A running server cuts it off at once.
Whoever had it still knows the port secret: the ports, not the way in. To
change that too, for all clients:
  sallyportd port-secret roll -c %s
`, revoked.identifier, cfg.path)
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

// loadClient reads the configuration, and finds a client in it.
func loadClient(path, name string) (config, registered, error) {
	cfg, err := loadToMend(path)
	if err != nil {
		return cfg, registered{}, err
	}
	id, err := parseFileIdentifier(name)
	if err != nil {
		return cfg, registered{}, err
	}
	for _, c := range cfg.clients {
		if c.identifier == id {
			return cfg, c, nil
		}
	}
	return cfg, registered{}, cli.WithHint(fmt.Errorf("there is no client %s in %s", id, cfg.clientsPath), "sallyportd client list -c "+path)
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

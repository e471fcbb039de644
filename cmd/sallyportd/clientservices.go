package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

func clientAllowCommand(env cli.Env) *cobra.Command {
	var path string
	var all bool
	c := &cobra.Command{
		Use:   "allow IDENTIFIER [SERVICE…]",
		Short: "Say which services a client may open",
		Long: `Say which services a client may open: those named, and no others.

A running server notices it by itself, and ends what the client has open of
other services.`,
		Example: "  sallyportd client allow k7Qx web ssh\n  sallyportd client allow k7Qx --all",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) > 1) {
				return cli.Misuse(errors.New("expected either names of services, or --all"))
			}
			cfg, client, err := loadClient(path, args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			client.services, client.fault = strings.Join(args[1:], ","), faultless
			if err := client.allowable(cfg); err != nil {
				return cli.Misuse(err)
			}
			err = editClients(c.Context(), cfg.clientsPath, func(lines []clientLine) ([]clientLine, error) {
				i, err := find(lines, client.identifier)
				if err == nil {
					lines[i].client.services, lines[i].client.fault = client.services, faultless
				}
				return lines, err
			})
			if err != nil {
				return err
			}
			what := "every service"
			if !all {
				what = strings.Join(args[1:], ", ")
			}
			_, err = fmt.Fprintf(env.Stdout, "%s may open %s.\n", client.identifier, what)
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every service, those to come included")
	addConfigFlag(c, &path)
	return c
}

// fault is what is wrong with a column services=. Whoever mends it has to read
// past it; to everybody else it is an error.
type fault uint8

const (
	faultless fault = iota
	malformed
	spaced
)

// unreadable stands for services that cannot be read. None is called so.
const unreadable = "?"

func (f fault) err() error {
	switch f {
	case malformed:
		return errors.New("expected services= once, and names divided by commas after it, such as services=web,ssh")
	case spaced:
		return errors.New("no space may stand between the names after services=: write services=web,ssh")
	}
	return nil
}

// checkServices refuses what cannot be read, and names of services that are
// not there: what was meant to restrict a client must not come to nothing.
func (c registered) checkServices(known []string) error {
	if err := c.fault.err(); err != nil {
		return err
	}
	for name := range strings.SplitSeq(c.services, ",") {
		if c.services != "" && !slices.Contains(known, name) {
			return fmt.Errorf("service %q is not configured; expected %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// mending says how to give a client services that are there.
func (c registered) mending() string {
	return fmt.Sprintf("\"sallyportd client allow %s SERVICE…\", or --all, mends it", c.identifier)
}

// allowable refuses services that are not there.
func (c registered) allowable(cfg config) error {
	if err := c.checkServices(cfg.serviceNames()); err != nil {
		return cli.WithHint(err, "the services are in "+cfg.path)
	}
	return nil
}

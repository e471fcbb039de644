package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/state"
)

// leasesClosed is the result of "lease close" for programs.
type leasesClosed struct {
	Server string        `json:"server"` // as of clientResult
	Closed []admin.Lease `json:"closed"`
}

func leaseCloseCommand(env cli.Env) *cobra.Command {
	var path, address string
	var all, asJSON bool
	var asked admin.Closing
	c := &cobra.Command{
		Use:        "close [SERVICE | CLIENT | OPERATION | ADDRESS]…",
		SuggestFor: []string{"end", "remove", "rm", "revoke"},
		Short:      "End leases at once",
		Long: `End leases at once: those that match all of the arguments and flags. An argument is
the name of a service, the identifier of a client, the ID of an operation, or an
address or network; the three words of a row of "lease list" are one lease. A flag
is the same for a name that has several of these meanings.

A client may open the service again; "sallyportd client revoke" prevents that.
Connections continue or end by on_close of the service, and end with --cut. If
another lease still admits the address, its connections continue.

If no server runs, the command removes recorded leases, which the next start would
open again. If the running server cannot record the end of a lease, for example on
a full disk, the lease is closed, and the exit code is 1.`,
		Example: "  sallyportd lease close k7Qx\n  sallyportd lease close ssh k7Qx 203.0.113.7\n  sallyportd lease close --service ssh --address 203.0.113.7 --cut",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, words []string) error {
			chosen := asked.Which != admin.Which{} || address != "" || len(words) > 0
			switch {
			case all && chosen:
				return cli.Misuse(cli.WithHint(errors.New("expected --all, or which leases to close, got both"), "omit --all"))
			case !all && !chosen:
				return cli.Misuse(cli.WithHint(errors.New("expected --all, or which leases to close, got neither"),
					"\"sallyportd lease list\" prints all leases; name a service, a client, an operation or an address"))
			}
			if asked.Client != "" {
				if _, err := secrets.ParseIdentifier(asked.Client); err != nil {
					return cli.Misuse(fmt.Errorf("--client: %w", err))
				}
			}
			var err error
			if asked.Peer, err = parsePeer(address); err != nil {
				return cli.Misuse(err)
			}
			cfg, err := loadOrLocate(path, func(text string) { env.Err().Warning(text, "") })
			if err != nil {
				return cli.Misuse(err)
			}
			if err := addWords(&asked.Which, words, cfg); err != nil {
				return cli.Misuse(err)
			}
			done, running, err := closeLeases(c.Context(), cfg, asked, all)
			if err != nil {
				return err
			}
			if len(done.Leases) == 0 {
				if err := unknownName(cfg, asked.Which); err != nil {
					return cli.Misuse(err)
				}
			}
			if done.Unrecorded != "" {
				err = cli.WithHint(fmt.Errorf("closed the leases, but could not record that: %s", done.Unrecorded),
					"a restart of the server may open them again: fix the cause; the server retries by itself, and logs when it succeeds")
			}
			if asJSON {
				return errors.Join(env.Out().JSON(leasesClosed{serverState(running, nil), done.Leases}), err)
			}
			line := fmt.Sprintf("Closed %s.\n", count(len(done.Leases), "lease"))
			if !running {
				line = fmt.Sprintf("No server runs. Removed %s from the record: the next start does not open them.\n", count(len(done.Leases), "lease"))
			}
			switch {
			case len(done.Leases) == 0 && running:
				line = "No lease matches.\n"
			case len(done.Leases) == 0:
				line = "No server runs, and no recorded lease matches.\n"
			default:
				if err := printLeases(env, done.Leases, "closed"); err != nil {
					return err
				}
			}
			return errors.Join(env.Err().Printf("%s", line), err)
		},
	}
	c.Flags().StringVar(&asked.Service, "service", "", "leases of the service of this `name`")
	c.Flags().StringVar(&asked.Client, "client", "", "leases of the client of this `identifier`")
	c.Flags().StringVar(&asked.Operation, "operation", "", "leases that the operation of this `ID` has opened")
	c.Flags().StringVar(&address, "address", "", "leases that admit this `address`, or one of a network")
	c.Flags().BoolVar(&all, "all", false, "all leases")
	c.Flags().BoolVar(&asked.Cut, "cut", false, "end their connections too, whatever on_close is")
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// unknownName returns an error if no lease can match, because a name does not exist:
// it is probably mistyped, and the lease that was meant is still open.
func unknownName(cfg *config.Config, asked admin.Which) error {
	if cfg.Services == nil {
		return nil // the configuration is not valid, which was reported
	}
	const none = "; no lease matches"
	if asked.Service != "" && cfg.Service(asked.Service) == nil {
		return fmt.Errorf("--service: there is no service %q in %s; expected %s%s",
			asked.Service, cfg.Path, strings.Join(cfg.ServiceNames(), ", "), none)
	}
	if asked.Operation != "" && !slices.ContainsFunc(cfg.Operations, func(o config.Operation) bool { return o.ID == asked.Operation }) {
		return cli.WithHint(fmt.Errorf("--operation: there is no operation %q in %s%s", asked.Operation, cfg.Path, none),
			"sallyportd operation list -c "+quoted(cfg.Path))
	}
	if asked.Client == "" {
		return nil
	}
	// Of a fleet's list, the copy will do, which needs no etcd.
	list, err := clients.Load(cfg.ClientsPath, cfg.SecretFiles, nil)
	isAsked := func(c clients.Client) bool { return c.Identifier.String() == asked.Client }
	if err != nil || slices.ContainsFunc(list, isAsked) {
		return nil
	}
	return cli.WithHint(fmt.Errorf("--client: there is no client %s in %s%s", asked.Client, cfg.ClientsPlace(), none),
		"sallyportd client list -c "+quoted(cfg.Path))
}

// parsePeer parses an address or a network; nothing is no condition.
func parsePeer(text string) (p netip.Prefix, err error) {
	if text == "" {
		return p, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	if p, err = netip.ParsePrefix(text); err != nil {
		return p, fmt.Errorf("--address: expected an IP address or a network such as 192.0.2.0/24, got %q", text)
	}
	return p.Masked(), nil
}

// closeLeases closes leases of the running server or, if certainly no server runs,
// removes recorded ones.
func closeLeases(
	ctx context.Context, cfg *config.Config, asked admin.Closing, all bool,
) (done admin.Closed, running bool, err error) {
	running, err = askServer(ctx, cfg, func(c admin.Conn) (err error) {
		done, err = c.CloseLeases(ctx, asked)
		return err
	})
	if err != nil || running {
		return done, running, err
	}
	done.Leases = []admin.Lease{}
	err = state.EditKept(ctx, cfg.StateDir, all, func(recorded []state.Kept) (stay []state.Kept) {
		for _, k := range recorded {
			if l := daemon.RecordedLease(k); asked.Matches(l) {
				done.Leases = append(done.Leases, l)
			} else {
				stay = append(stay, k)
			}
		}
		return stay
	})
	var locked *state.LockedError
	if errors.As(err, &locked) {
		err = cli.WithHint(errors.New("a server is starting"), "run the command again")
	}
	return done, false, err
}

package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
)

func leaseListCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:        "list",
		SuggestFor: []string{"ls", "show"},
		Short:      "List all leases: the service, the client and its address, and the end",
		Long: `List all leases: the service, the client and its address, and the end.

STATE is "open"; or "waiting" for a lease that opens when the service's port is
bound, its program is ready, and its opening command has succeeded; or "recorded"
for a lease that lasts until it is closed and that no server has opened yet.
OPERATION is empty for a lease of knocks, and CLIENT
for one of an operation that belongs to no client. With --json there is one object
for each lease, with times in UTC; "until" is null if the lease lasts until it is
closed, and "waits" is why a lease is waiting.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadOrLocate(path, func(text string) { env.Err().Warning(text, "") })
			if err != nil {
				return cli.Misuse(err)
			}
			list, running, err := readLeases(c.Context(), cfg)
			if err != nil {
				return err
			}
			if !running {
				text := "no server runs, so no lease is in force"
				if len(list) > 0 {
					text += "; the next start opens these again"
				}
				env.Err().Warning(text, "")
			}
			if asJSON {
				for _, l := range list {
					if err := env.Out().JSON(l); err != nil {
						return err
					}
				}
				return nil
			}
			return printLeases(env, list, "")
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// printLeases prints a table. State is that of all leases; empty: each has its own.
func printLeases(env cli.Env, list []admin.Lease, state string) error {
	rows := [][]output.Cell{output.Header("SERVICE", "CLIENT", "PEER", "SINCE", "UNTIL", "OPERATION", "STATE")}
	for _, l := range list {
		until, is := "until closed", "open"
		if l.Until != nil {
			until = env.Time(*l.Until)
		}
		if l.Waits != "" {
			is = "waiting"
		} else if !l.InForce {
			is = "recorded"
		}
		rows = append(rows, output.Row(leaseService(l), orDash(l.Client), peerText(l), env.Time(l.Since), until,
			orDash(l.Operation), cmp.Or(state, is)))
	}
	return env.Out().Columns().Print(rows...)
}

// leaseService returns the service of a lease, with the drawn port if it has one.
func leaseService(l admin.Lease) string {
	if l.Port == 0 {
		return l.Service
	}
	return fmt.Sprintf("%s (port %d)", l.Service, l.Port)
}

// peerText returns an address, or a network.
func peerText(l admin.Lease) string {
	switch {
	case l.AnyAddress():
		return access.AnyAddress.String()
	case l.Zone != "":
		return l.Peer.Addr().WithZone(l.Zone).String()
	case l.Peer.IsSingleIP():
		return l.Peer.Addr().String()
	}
	return l.Peer.String()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// readLeases returns the leases of the running server or, if certainly no server
// runs, the recorded ones.
func readLeases(ctx context.Context, cfg *config.Config) (list []admin.Lease, running bool, err error) {
	running, err = askServer(ctx, cfg, func(c admin.Conn) (err error) {
		list, err = c.Leases(ctx)
		return err
	})
	if err != nil || running {
		return list, running, err
	}
	recorded, err := state.ReadKept(cfg.StateDir)
	for _, k := range recorded {
		list = append(list, daemon.RecordedLease(k))
	}
	return list, false, err
}

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify/wire"
)

// importedClients is the result of "client import" for programs.
type importedClients struct {
	Clients  int    `json:"clients"`  // in the new list
	Added    int    `json:"added"`    // those that the list before did not have;
	Changed  int    `json:"changed"`  // that it had with another line;
	Removed  int    `json:"removed"`  // and that only it had
	Comments int    `json:"comments"` // lines of the file that the list does not have
	Server   string `json:"server"`   // as of clientResult
	Reason   string `json:"reason,omitempty"`
}

func clientImportCommand(env cli.Env) *cobra.Command {
	var path string
	var replace, asJSON bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Write the clients of a file into the fleet's list",
		Long: `Write the clients of a file, which is one like clients.txt, into the fleet's list
in etcd, for all gateways. It requires clients = "fleet".

If the list has clients already, --replace is required: the clients of the file are
then the whole list. All others are removed, and lose what they have open, at all
gateways. All gateways accept such a list, also those that refuse the present one
because it was altered, or because etcd was restored from a backup.

Comments and empty lines of the file are not in the list; notes of clients are. The
command waits until the running server, if there is one, has applied the list. If the
server refuses it, the exit code is 1, and the error is the reason.`,
		Example: "  sallyportd client import clients.txt",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := loadEtcdList(env, path)
			if err != nil {
				return err
			}
			lines, err := clients.ReadLines(args[0], f.cfg.SecretFiles, f.cfg.ServiceNames())
			if err != nil {
				return cli.Misuse(err)
			}
			done, err := f.importLines(c.Context(), lines, replace)
			if err != nil {
				return err
			}
			running, err := applyChange(c.Context(), f.cfg, fmt.Sprintf("%s are written", countClients(done.Clients)), f.apply(c.Context()))
			line := serverLine(f.cfg, running)
			if done.Server = serverState(running, err); err != nil {
				done.Reason = err.Error()
			}
			var other *notAppliedError
			if errors.As(err, &other) && other.status.File { // as expected, if it is the first list
				line, err = "The running server uses its clients file until it is restarted.", nil
			}
			if asJSON {
				return errors.Join(env.Out().JSON(done), err)
			}
			if err != nil {
				return err
			}
			return env.Out().Printf("The fleet's list has %s: %d added, %d changed, %d removed.%s\n%s\n",
				countClients(done.Clients), done.Added, done.Changed, done.Removed, commentsText(done.Comments), line)
		},
	}
	c.Flags().BoolVar(&replace, "replace", false, "replace a list that has clients already, or that cannot be read")
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

func countClients(n int) string { return count(n, "client") }

// commentsText returns, for people, how many lines of a file the list does not have.
func commentsText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" %s of the file %s not in it.", plural(n, "comment or empty line", "comments and empty lines"), map[bool]string{true: "is", false: "are"}[n == 1])
}

// loadEtcdList reads a configuration that must have clients = "fleet".
func loadEtcdList(env cli.Env, path string) (etcdList, error) {
	cfg, err := config.Load(path, config.Alone)
	if err == nil && !cfg.FleetClients {
		err = cli.WithHint(fmt.Errorf("the clients of %s are in the file %s", path, cfg.ClientsPath),
			"the command is for the list of a fleet: clients = \"fleet\"")
	}
	return etcdList{cfg, env}, cli.Misuse(err)
}

// importLines writes the whole list. If there are clients in it already, or if it cannot be
// read, the operator must have allowed that.
func (f etcdList) importLines(ctx context.Context, lines []clients.Line, replace bool) (done importedClients, err error) {
	err = f.with("change", func(l *fleetlist.List) error {
		before, version, err := l.Read(ctx)
		var unavailable *cluster.UnavailableError
		var key *roster.KeyError
		var later *cluster.VersionError
		switch {
		case errors.Is(err, roster.ErrNone):
		case errors.As(err, &unavailable), errors.As(err, &key), errors.As(err, &later): // --replace would fail as well
			return err
		case err != nil && !replace:
			return cli.WithHint(fmt.Errorf("etcd has a list already, which cannot be read: %w", err), "to write another one in its place: --replace")
		case len(before) > 0 && !replace:
			return cli.Misuse(cli.WithHint(fmt.Errorf("the fleet's list, version %d, has %s already; nothing was written", version, countClients(len(before))),
				"--replace removes them, except those in the file; \"sallyportd client export\" prints them"))
		}
		done.compare(before, lines)
		return l.Import(ctx, lines)
	})
	return done, err
}

// compare counts what differs between two lists.
func (r *importedClients) compare(before, after []clients.Line) {
	old := map[wire.Identifier]string{}
	for _, l := range before {
		if l.Client != nil {
			old[l.Client.Identifier] = l.Client.String()
		}
	}
	for _, l := range after {
		if l.Client == nil {
			r.Comments++
			continue
		}
		r.Clients++
		switch line, found := old[l.Client.Identifier]; {
		case !found:
			r.Added++
		case line != l.Client.String():
			r.Changed++
		}
		delete(old, l.Client.Identifier)
	}
	r.Removed = len(old)
}

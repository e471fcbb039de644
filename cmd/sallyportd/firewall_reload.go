package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/durable"
	"sallyport/sessions/gate/holder"
)

// heldResult is the result of "firewall reload" for programs.
type heldResult struct {
	Done bool `json:"reloaded"`
	holder.Reloaded
}

func firewallReloadCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	var try trialFlag
	c := &cobra.Command{
		Use:   "reload",
		Short: "Make \"firewall hold\" read its configuration again",
		Long: `Make "firewall hold" read its configuration again.

It does what SIGHUP does, waits, and prints the result. Nothing opens during that. If
the services have changed, a server that runs must then be restarted: until then
nothing can open.

With --trial, services that were not hidden before are hidden for a time only, as with
"serve --trial".

Exit codes: 3 no holder runs; 4 it cannot be reached.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := loadHeld(path)
			if err == nil {
				err = try.checkRecord(cfg) // the holder knows what is hidden
			}
			if err != nil {
				return err
			}
			done, err := holder.AskReload(c.Context(), dialHolder(cfg.FirewallSocket), try.asked)
			if err != nil {
				return explainNoHolder(err, cfg.FirewallSocket)
			}
			if asJSON {
				return env.Out().JSON(heldResult{true, done})
			}
			err = env.Out().Printf("reloaded: %s in the table of the firewall\n", count(done.Ports, "service"))
			if err == nil && len(done.OnTrial) > 0 {
				until := "over: open to anyone"
				if !done.Until.IsZero() {
					until = "until " + env.Out().Time(done.Until)
				}
				err = env.Out().Printf("on trial: %s (%s)\n", strings.Join(done.OnTrial, ", "), until)
			} else if err == nil && try.asked != nil {
				err = env.Out().Printf("%s\n", nothingOnTrial(*try.asked))
			}
			if err != nil || !done.Restart {
				return err
			}
			return env.Err().Warning("a server that runs has read the earlier configuration, and can open nothing", "restart it: systemctl restart sallyportd")
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	addTrialFlag(c.Flags(), &try)
	return c
}

// dialHolder returns a function that connects to the holder at a socket with at most the
// rights of the owner of its directory, as whom the holder may run: this command of root
// asks it, and does not depend on the answer.
func dialHolder(socket string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (conn net.Conn, err error) {
		info, err := os.Stat(filepath.Dir(socket))
		if err != nil {
			return nil, err
		}
		owner := info.Sys().(*syscall.Stat_t).Uid
		err = durable.AsOwner(socket, func(path string) error {
			conn, err = holder.Dialer(path, owner)(ctx)
			return err
		})
		return conn, err
	}
}

// explainNoHolder distinguishes a holder that does not run from one that cannot be reached.
func explainNoHolder(err error, socket string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &unreachedError{
			"no \"firewall hold\" answers at " + socket,
			"if the server has started the holder itself, restart the server; a trial begins with serve --trial TIME", "not-running", exitNotRunning,
		}
	case errors.Is(err, fs.ErrPermission):
		return &unreachedError{"no permission to open the socket " + socket, "run the command as root, or as the user of the holder", "permission", exitUnreachable}
	case errors.Is(err, holder.ErrDead):
		return &unreachedError{"the holder at " + socket + " has not answered: " + err.Error(), "its log shows what it did; an earlier release knows no such command: restart it", "no-answer", exitUnreachable}
	}
	return err
}

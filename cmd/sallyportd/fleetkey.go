package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/sessions/fleet/roster"
)

// fleetKey is the result of the fleet-key commands for programs.
type fleetKey struct {
	File string   `json:"file"`
	Keys []string `json:"keys"` // names, which reveal nothing else of the keys; the first one seals
	// Sealed is the key that the list in etcd is sealed with. Only of "reseal" and "drop".
	Sealed string `json:"sealed,omitempty"`
	Server string `json:"server,omitempty"` // as of clientResult. Only of "reseal".
	Reason string `json:"reason,omitempty"`
}

func fleetKeyCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "fleet-key", Short: "Make and change the key file of the fleet's list of clients"})
	group.AddCommand(
		fleetKeyFileCommand(env, "new", "Make the key file", `Make the key file of the fleet's list of clients, which clients_key_file in [fleet]
names. Make it at one gateway, and copy it to all others over a secure channel, with
mode 0600; set clients = "fleet" there. An attacker who has the file and reads etcd has
the secrets of all clients.`,
			newKeyFile, "Next, copy the file to all gateways. Then, at one of them: sallyportd client import FILE"),
		fleetKeyFileCommand(env, "rotate", "Put a new key before the one in the key file", `Put a new key before the one in the key file. The first key seals; both open.

Run it at one gateway. Then copy the file to all others, let each read it ("sallyportd
reload"), and run "sallyportd fleet-key reseal" at one of them. At last, remove the old
key from all files: "sallyportd fleet-key drop", and "sallyportd reload".`,
			roster.RotateKeyFile, `Next:
  copy the file to all gateways, and run there, here too: sallyportd reload
  then, here: sallyportd fleet-key reseal
  then, at all gateways: sallyportd fleet-key drop`),
		fleetKeyResealCommand(env), fleetKeyDropCommand(env))
	return group
}

// fleetKeyFileCommand is a command that changes only the key file.
func fleetKeyFileCommand(env cli.Env, name, short, long string, change func(path string) error, next string) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use: name, Short: short, Long: long, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := loadEtcdList(env, path)
			if err != nil {
				return err
			}
			f.cfg.ReadClientsKey() // for its path; the file may not exist yet
			if err := change(f.cfg.Fleet.ClientsKeyPath); err != nil {
				return cli.Misuse(hint.Writing(err))
			}
			done, err := readFleetKey(f.cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return env.Out().JSON(done)
			}
			return env.Out().Printf("%s\n%s\n", done, withConfig(next, path))
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

func newKeyFile(path string) error {
	err := roster.NewKeyFile(path)
	if errors.Is(err, fs.ErrExist) {
		return cli.WithHint(err, "\"sallyportd fleet-key rotate\" puts a new key before the one in the file")
	}
	return err
}

// readFleetKey reads the key file as the server does.
func readFleetKey(cfg *config.Config) (fleetKey, error) {
	err := cfg.ReadClientsKey()
	return fleetKey{File: cfg.Fleet.ClientsKeyPath, Keys: cfg.Fleet.ClientsKey.IDs()}, cli.Misuse(err)
}

// String describes the file for people.
func (k fleetKey) String() string {
	if len(k.Keys) == 1 {
		return fmt.Sprintf("%s has the key %s.", k.File, k.Keys[0])
	}
	return fmt.Sprintf("%s has the keys %s; the first one seals.", k.File, strings.Join(k.Keys, " and "))
}

func fleetKeyResealCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "reseal",
		Short: "Seal the fleet's list again, with the first key of the key file",
		Long: `Seal the fleet's list of clients in etcd again, with the first key of the key file.

All gateways must have read the file with that key before: those that have not refuse
the list, and keep the one that they have, so that no revocation reaches them. The
clients stay as they are.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := loadEtcdList(env, path)
			if err != nil {
				return err
			}
			done, err := readFleetKey(f.cfg)
			if err != nil {
				return err
			}
			err = f.with("change", func(l *fleetlist.List) error { return l.Roster().Reseal(c.Context()) })
			if err != nil {
				return err
			}
			done.Sealed = done.Keys[0]
			running, err := applyChange(c.Context(), f.cfg, "the clients are sealed with the key "+done.Sealed, f.apply(c.Context()))
			if asJSON {
				if done.Server = serverState(running, err); err != nil {
					done.Reason = err.Error()
				}
				return errors.Join(env.Out().JSON(done), err)
			}
			if err != nil {
				return err
			}
			next := ""
			if len(done.Keys) > 1 {
				next = "Next, when all gateways have the list: sallyportd fleet-key drop -c " + quoted(path) + ", at each of them.\n"
			}
			return env.Out().Printf("Sealed the fleet's list with the key %s.\n%s\n%s", done.Sealed, serverLine(f.cfg, running), next)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

func fleetKeyDropCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "drop",
		Short: "Remove the old key from the key file",
		Long: `Remove the old key, which is the second one, from the key file of this gateway. The
command first asks etcd that the list is sealed with the first one.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := loadEtcdList(env, path)
			if err != nil {
				return err
			}
			done, err := f.dropKey(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return env.Out().JSON(done)
			}
			return env.Out().Printf("%s\n%s\n", done, withConfig("Next, so that the server forgets the old one: sallyportd reload", path))
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// dropKey removes the second key, if the list is not sealed with it.
func (f etcdList) dropKey(ctx context.Context) (done fleetKey, err error) {
	if done, err = readFleetKey(f.cfg); err != nil {
		return done, err
	}
	if len(done.Keys) == 1 {
		return done, cli.Misuse(fmt.Errorf("%s has one key only", done.File))
	}
	err = f.with("read", func(l *fleetlist.List) error {
		done.Sealed, err = l.Roster().KeyID(ctx)
		return err
	})
	switch {
	case err != nil:
		return done, err
	case done.Sealed != done.Keys[0]:
		return done, cli.Misuse(cli.WithHint(fmt.Errorf("the list in etcd is sealed with the key %s, not with %s, the first one of %s; nothing was changed", done.Sealed, done.Keys[0], done.File),
			"first, at one gateway: sallyportd fleet-key reseal"))
	}
	if err := roster.DropOldKey(done.File); err != nil {
		return done, hint.Writing(err)
	}
	done, err = readFleetKey(f.cfg)
	done.Sealed = done.Keys[0]
	return done, err
}

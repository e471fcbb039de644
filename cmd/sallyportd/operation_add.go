package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/durable"
	"sallyport/sessions/state"
)

// newOperation is the [[operation]] table that "operation add" writes.
type newOperation struct {
	id, service, action, openFor, port, client string
	algorithm, uses                            int
	from                                       []string
	keysFile                                   string   // instead of a secret: a file with public keys,
	keys                                       []string // or the keys
}

// addedOperation is the result of "operation add" for programs.
type addedOperation struct {
	Operation  string `json:"operation"`
	SecretFile string `json:"secret_file,omitempty"`   // empty: it has public keys
	HostKey    string `json:"host_key_file,omitempty"` // that was made
	Server     string `json:"server"`                  // as of clientResult
	Restart    bool   `json:"restart"`                 // the server must be restarted
	// NotCounted: the operation stays unavailable until "operation reset", because
	// there is no record of uses.
	NotCounted bool `json:"not_counted,omitempty"`
}

func operationAddCommand(env cli.Env) *cobra.Command {
	var path string
	var o newOperation
	var asJSON bool
	c := &cobra.Command{
		Use:   "add ID",
		Short: "Add an operation with a random secret, or with public keys, to the configuration",
		Long: `Add an operation with a random secret, or with public keys, to the configuration.

The command adds an [[operation]] table to the end of the file, whose other lines
stay as they are, and writes the secret to another file beside it. The first
operation also adds the [challenge] table, which switches the challenge–response
protocol on; the server must be restarted then. Otherwise the command waits until
the running server, if there is one, has read its configuration again.

With --keys-file or --key, the operation has public keys of OpenSSH instead of a secret.
The server requires a host key then: if the configuration has no [challenge] table yet,
the command makes one in host.key beside it, and sets a restart of the encodings, with
which the longer messages have room.`,
		Example: "  sallyportd operation add ssh-alice --service ssh --client k7Qx\n  sallyportd operation profile ssh-alice --out ssh-alice.toml",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if o.uses == 0 && c.Flags().Changed("uses") {
				return cli.Misuse(errors.New("--uses: expected a number from 1 on, got 0; without the flag there is no limit"))
			}
			o.id = args[0]
			return o.add(c.Context(), env, path, asJSON)
		},
	}
	c.Flags().StringVar(&o.service, "service", "", "the `name` of the service (default the only one)")
	c.Flags().StringVar(&o.client, "client", "", "the `identifier` of the only client that may request it (default any that has the secret)")
	c.Flags().StringVar(&o.action, "action", "", "open or close (default open)")
	c.Flags().StringVar(&o.openFor, "open-for", "", "the `duration` for which it opens, or until-closed (default that of the service)")
	c.Flags().StringVar(&o.port, "port", "", "service or random (default service)")
	c.Flags().IntVar(&o.algorithm, "algorithm", 0, "1, 2 or 3 (default 2)")
	c.Flags().IntVar(&o.uses, "uses", 0, "how often it may be used; 1 for a borrowed machine (default without a limit)")
	c.Flags().StringVar(&o.keysFile, "keys-file", "", "a `file` with public keys instead of a secret, as authorized_keys; the server reads it at each reload")
	c.Flags().StringArrayVar(&o.keys, "key", nil, "a public `key` instead of a secret, such as \"ssh-ed25519 AAAA…\"; may be repeated")
	c.Flags().StringSliceVar(&o.from, "from", nil, "the `networks` from which it may be requested (default all)")
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

func (o newOperation) add(ctx context.Context, env cli.Env, path string, asJSON bool) error {
	unlock, err := clients.Lock(ctx, path)
	if err != nil {
		return hint.Writing(fmt.Errorf("lock the configuration: %w", err))
	}
	defer unlock()
	cfg, err := config.Load(path, config.Alone)
	if err != nil {
		return cli.Misuse(err)
	}
	for _, existing := range cfg.Operations {
		if existing.ID == o.id {
			return cli.Misuse(cli.WithHint(fmt.Errorf("operation %s exists already", o.id), "choose another ID; the operations: sallyportd operation list"))
		}
	}
	if err := o.checkClient(ctx, env, cfg); err != nil {
		return err
	}
	if err := o.checkKeys(cfg); err != nil {
		return cli.Misuse(err)
	}
	if o.service == "" && len(cfg.Services) == 1 {
		o.service = cfg.Services[0].Name
	}
	text, info, err := readWhole(path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	secretPath := filepath.Join(filepath.Dir(path), "operation-"+strings.TrimSuffix(profileName(o.id), ".toml"))
	edited := append(bytes.TrimRight(text, "\n"), '\n')
	first, hostKey := cfg.Challenge == nil, ""
	if first {
		edited = append(edited, "\n[challenge]\n"...)
	}
	if first && o.signed() {
		hostKey = filepath.Join(filepath.Dir(path), hostKeyName)
		edited = fmt.Appendf(edited, "host_key_file = %q\n\n[challenge.request]\nrestart = 20\n\n[challenge.response]\nrestart = 20\n", hostKeyName)
	}
	edited = append(edited, o.table(filepath.Base(secretPath))...)
	next, err := config.Parse(path, edited)
	if err == nil {
		var host config.Host
		if host, err = privilege.Probe(); err == nil {
			err = next.CheckOperations(host)
		}
	}
	if err != nil {
		return cli.Misuse(fmt.Errorf("the configuration with this operation would not be valid: %w", err))
	}
	made := secretPath // the new file
	if o.signed() {
		secretPath, made = "", hostKey
		if hostKey != "" {
			if _, err := createHostKey(hostKey); err != nil {
				return cli.Misuse(err)
			}
		}
	} else {
		err = secretfile.Create(secretPath, []byte(secrets.Random()+"\n"))
		if errors.Is(err, fs.ErrExist) {
			err = cli.WithHint(err, "choose another ID, or move that file away: an earlier operation may have used it")
		}
		if err != nil {
			return cli.Misuse(hint.Writing(fmt.Errorf("write the secret of the operation: %w", err)))
		}
	}
	if err := durable.WriteFile(path, edited, info.Mode().Perm()); err != nil {
		if made != "" {
			durable.Remove(made)
		}
		return hint.Writing(fmt.Errorf("write the configuration: %w", err))
	}
	result := addedOperation{Operation: o.id, SecretFile: secretPath, HostKey: hostKey, Restart: first, Server: serverNone}
	line := "Restart the server: [challenge] is new."
	if !first {
		running, failed := askServer(ctx, cfg, reloadAll(ctx))
		if err = failed; err != nil {
			err = notReloaded("added the operation to "+path, err)
		}
		result.Server, line = serverState(running, err), serverLine(cfg, running)
	}
	if err == nil && o.uses > 0 {
		result.NotCounted = result.Server == serverNone && !o.countFromZero(ctx, path)
	}
	if result.NotCounted {
		line += " There is no record of uses yet, so it stays unavailable: start the server, then: sallyportd operation reset " + o.id + "."
	}
	if asJSON {
		return errors.Join(env.Out().JSON(result), err)
	}
	if err != nil {
		return err
	}
	return env.Out().Printf("Added operation %s to %s. %s\n\nNext, make its profile:\n  sallyportd operation profile %s -c %s\n",
		o.id, path, line, o.id, quoted(path))
}

// countFromZero records that the operation, whose secret is new, was not used. It
// reports whether the next start will know that.
func (o newOperation) countFromZero(ctx context.Context, path string) bool {
	cfg, err := config.Load(path, config.Secrets)
	if err != nil {
		return false
	}
	if _, err := state.ReadUses(cfg.StateDir); err == nil {
		return true // an operation that a complete record lacks was never used
	}
	_, err = daemon.ResetRecordedUses(ctx, cfg, o.id)
	return err == nil
}

// checkKeys returns an error if the file with public keys has none. It makes the path
// absolute: in the configuration, a path is relative to the directory of that file.
func (o *newOperation) checkKeys(cfg *config.Config) (err error) {
	switch {
	case o.keysFile != "" && len(o.keys) > 0:
		return cli.WithHint(errors.New("expected one of --keys-file and --key"), "write all keys into the file, or give each with --key")
	case slices.ContainsFunc(o.keys, func(k string) bool { return !strings.Contains(strings.TrimSpace(k), " ") }):
		return cli.WithHint(errors.New("--key: expected a public key as in authorized_keys, such as \"ssh-ed25519 AAAA…\""), "a file with public keys: --keys-file")
	case o.keysFile == "":
		return nil
	}
	if o.keysFile, err = filepath.Abs(o.keysFile); err != nil {
		return err
	}
	keys, err := cfg.PublicKeysIn(o.keysFile)
	switch {
	case err == nil && len(keys) == 0:
		err = fmt.Errorf("%s: expected a public key, got none", o.keysFile)
	case err != nil && !strings.HasSuffix(o.keysFile, ".pub"):
		if _, noFile := os.Stat(o.keysFile + ".pub"); noFile == nil {
			err = cli.WithHint(err, "the public half is in "+o.keysFile+".pub")
		}
	}
	return err
}

// checkClient returns an error if no client has the operation's identifier: the server
// would disable the operation.
func (o newOperation) checkClient(ctx context.Context, env cli.Env, cfg *config.Config) error {
	if o.client == "" {
		return nil
	}
	list, err := clientsOf(cfg, env).read(ctx, nil)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Identifier.String() == o.client {
			return nil
		}
	}
	return cli.Misuse(cli.WithHint(fmt.Errorf("--client: there is no client %s in %s", o.client, cfg.ClientsPlace()), "sallyportd client list"))
}

// table returns the operation as text of TOML.
func (o newOperation) table(secretFile string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n[[operation]]\nid = %q\n", o.id)
	switch {
	case o.keysFile != "":
		fmt.Fprintf(&b, "keys_file = %q\n", o.keysFile)
	case len(o.keys) > 0:
		fmt.Fprintf(&b, "keys = [%s]\n", quotedList(o.keys))
	default:
		fmt.Fprintf(&b, "secret_file = %q\n", secretFile)
	}
	for _, key := range [][2]string{
		{"service", o.service}, {"client", o.client}, {"action", o.action}, {"open_for", o.openFor}, {"port", o.port},
	} {
		if key[1] != "" {
			fmt.Fprintf(&b, "%s = %q\n", key[0], key[1])
		}
	}
	if o.algorithm != 0 {
		fmt.Fprintf(&b, "algorithm = %d\n", o.algorithm)
	}
	if o.uses != 0 {
		fmt.Fprintf(&b, "uses = %d\n", o.uses)
	}
	if len(o.from) > 0 {
		fmt.Fprintf(&b, "from = [%s]\n", quotedList(o.from))
	}
	return b.String()
}

// hostKeyName is the name of the file with the host key that "operation add" makes.
const hostKeyName = "host.key"

// signed reports whether the operation has public keys.
func (o newOperation) signed() bool { return o.keysFile != "" || len(o.keys) > 0 }

// quotedList returns texts as the content of a list of TOML.
func quotedList(texts []string) string {
	var quoted []string
	for _, text := range texts {
		quoted = append(quoted, fmt.Sprintf("%q", text))
	}
	return strings.Join(quoted, ", ")
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/textfile"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/durable"
)

// rollResult is the result of "port-secret roll" for programs.
type rollResult struct {
	Changed       bool      `json:"changed"`
	PreviousUntil time.Time `json:"previous_until"` // the ports of the old secret stay open
	Clients       []string  `json:"clients"`        // that need a new profile
	Server        string    `json:"server"`         // as of clientResult
}

func portSecretCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "port-secret", Short: "Change the secret from which the knock ports are computed"})
	var path string
	var valid validity
	var asJSON, end bool
	roll := &cobra.Command{
		Use:   "roll",
		Short: "Make a new port secret; the ports of the old one stay open for a while",
		Long: `Make a new port secret; the ports of the old one stay open for a while.

Every client needs a new profile by then. The command waits until the running
server, if there is one, has read its configuration again.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if end && valid.given() {
				return cli.Misuse(errors.New("--end excludes --for and --until"))
			}
			until, err := valid.end(env)
			if err != nil {
				return cli.Misuse(err)
			}
			cfg, err := config.Load(path, config.Secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			unlock, err := clients.Lock(c.Context(), cfg.Path)
			if err != nil {
				return hint.Writing(fmt.Errorf("lock the configuration: %w", err))
			}
			defer unlock()
			cfg, list, err := loadAll(path, config.Secrets) // again, because another roll may have changed it
			if err != nil {
				return cli.Misuse(err)
			}
			if end {
				return endRoll(c.Context(), env, cfg, asJSON)
			}
			if err := rollPortSecret(cfg, env, until); err != nil {
				return err
			}
			result := rollResult{Changed: true, PreviousUntil: until, Clients: []string{}}
			for _, c := range list {
				result.Clients = append(result.Clients, c.Identifier.String())
			}
			running, err := askServer(c.Context(), cfg, reloadAll(c.Context()))
			if err != nil {
				err = notReloaded("made a new port secret", err)
			}
			if asJSON {
				result.Server = serverState(running, err)
				return errors.Join(env.Out().JSON(result), err)
			}
			if err != nil {
				return err
			}
			next := ""
			if len(list) > 0 {
				next = fmt.Sprintf("\nNext, give each client its new profile:\n  sallyportd client profile --all --out-dir DIR -c %s\n", quoted(cfg.Path))
			}
			old := "stay open until " + env.Time(until)
			if !until.After(env.Now()) {
				old = "are closed"
			}
			return env.Out().Printf("Made a new port secret. The ports of the old one %s.\n%s\n%s", old, serverLine(cfg, running), next)
		},
	}
	roll.Flags().BoolVar(&end, "end", false, "make no new secret, but end the last roll now: the ports of the old secret close")
	valid.flags(roll)
	cli.AddJSONFlag(roll, &asJSON)
	addConfigFlag(roll, env, &path)
	group.AddCommand(roll)
	return group
}

// reloadAll makes the server read its configuration again.
func reloadAll(ctx context.Context) func(admin.Conn) error {
	return func(conn admin.Conn) error {
		_, err := conn.Reload(ctx)
		return err
	}
}

// notReloaded is the error about a change of the configuration that the running server
// does not use.
func notReloaded(change string, err error) error {
	todo := "fix the cause, then: sallyportd reload"
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		todo = hinted.Hint()
	}
	return cli.WithHint(fmt.Errorf("%s, but the running server does not use the change: %w", change, err), todo)
}

// endRoll removes the previous port secret from the configuration, and then its file.
// The caller holds the lock of the configuration.
func endRoll(ctx context.Context, env cli.Env, cfg *config.Config, asJSON bool) error {
	if cfg.PortSecret.Previous == "" {
		return cli.Misuse(fmt.Errorf("%s has no previous port secret", cfg.Path))
	}
	text, info, err := readWhole(cfg.Path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	edited, err := setKeys(string(text), "", [][2]string{
		{"port_secret_previous", ""}, {"port_secret_previous_file", ""}, {"port_secret_previous_until", ""},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", cfg.Path, err)
	}
	next, err := config.Parse(cfg.Path, []byte(edited))
	if err != nil || next.PortSecret.Previous != "" || !next.PortSecret.Until.IsZero() {
		return cli.WithHint(fmt.Errorf("cannot find the lines of the previous port secret in %s", cfg.Path),
			"remove the port_secret_previous keys there, then: sallyportd reload")
	}
	if err := durable.WriteFile(cfg.Path, []byte(edited), info.Mode().Perm()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	running, err := askServer(ctx, cfg, reloadAll(ctx))
	if err != nil {
		err = notReloaded("removed the previous port secret from "+cfg.Path, err)
	} else {
		removePrevious(cfg)
	}
	if asJSON {
		return errors.Join(env.Out().JSON(rollResult{
			Changed: true, PreviousUntil: env.Now().UTC().Truncate(time.Second), Clients: []string{}, Server: serverState(running, err),
		}), err)
	}
	if err != nil {
		return err
	}
	return env.Out().Printf("Removed the previous port secret from %s. Profiles with it open nothing.\n%s\n", cfg.Path, serverLine(cfg, running))
}

// removePrevious removes the file that a roll made for the previous secret. The
// configuration no longer names it.
func removePrevious(cfg *config.Config) {
	if cfg.PortSecret.Path == "" {
		return
	}
	path := previousPath(cfg.PortSecret)
	if text, _, err := readWhole(path); err == nil && strings.TrimSpace(string(text)) == cfg.PortSecret.Previous {
		durable.Remove(path)
	}
}

// previousPath returns where a roll keeps the previous secret.
func previousPath(s config.PortSecret) string { return s.Path + ".previous" }

// rollPortSecret replaces the port secret in steps, each of which leaves a valid
// configuration: it copies the current secret to a file, names the copy as the
// previous secret in the configuration, and only then replaces the current one.
func rollPortSecret(cfg *config.Config, env cli.Env, until time.Time) error {
	secret := cfg.PortSecret
	if secret.Path == "" {
		return cli.Misuse(cli.WithHint(fmt.Errorf("%s contains the port secret itself; expected it in another file", cfg.Path),
			"move it to another file, and name that file with port_secret_file"))
	}
	if secret.Credential {
		return cli.Misuse(cli.WithHint(errors.New("the port secret is a credential of systemd; expected a file that this command can replace"),
			"keep the old one as another credential, name it with port_secret_previous_file and port_secret_previous_until in "+
				cfg.Path+", replace the file of LoadCredential, and restart the unit"))
	}
	// If both secrets are equal, an earlier roll was interrupted before its last
	// step: this one does it again, with its own date.
	interrupted := secret.Previous == secret.Current
	if secret.Previous != "" && !interrupted && env.Now().Before(secret.Until) {
		return cli.Misuse(cli.WithHint(fmt.Errorf("the last roll has not ended: the ports of the previous secret stay open until %s", env.Time(secret.Until)),
			"wait until then, or end it now: sallyportd port-secret roll --end"))
	}
	text, info, err := readWhole(cfg.Path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	decoded, err := textfile.Decode(cfg.Path, text)
	if err != nil {
		return cli.Misuse(err)
	}
	previousPath := previousPath(secret)
	edited, err := setKeys(string(decoded), "port_secret_file", [][2]string{
		{"port_secret_previous", ""},
		{"port_secret_previous_file", fmt.Sprintf("%q", relative(filepath.Dir(cfg.Path), previousPath))},
		{"port_secret_previous_until", until.Format(time.RFC3339)},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", cfg.Path, err)
	}
	if _, err := config.Parse(cfg.Path, []byte(edited)); err != nil {
		return fmt.Errorf("the change would make the configuration unreadable: %w", err)
	}
	for _, path := range []string{secret.Path, cfg.Path} {
		if err := durable.Replaceable(path); err != nil {
			return cli.Misuse(fmt.Errorf("the port secret stays: %w", err))
		}
	}
	_, secretInfo, err := readWhole(secret.Path)
	if err != nil {
		return fmt.Errorf("read the port secret: %w", err)
	}
	mode := secretInfo.Mode().Perm()
	older, _, err := readWhole(previousPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the previous port secret: %w", err)
	}
	undo := func() {
		// The error may be that of the last step, after the file was replaced. A
		// configuration must not name a file that is not there.
		if now, _, err := readWhole(cfg.Path); err != nil || string(now) != string(text) {
			if err != nil || durable.WriteFile(cfg.Path, text, info.Mode().Perm()) != nil {
				return
			}
		}
		if older != nil {
			durable.WriteFileLike(previousPath, secret.Path, older, mode)
			return
		}
		durable.Remove(previousPath)
	}
	if err := durable.WriteFileLike(previousPath, secret.Path, []byte(secret.Current+"\n"), mode); err != nil {
		undo()
		return hint.Writing(fmt.Errorf("the port secret stays: keep the old one: %w", err))
	}
	// A link, as of a configuration manager, stays: its target is replaced.
	if err := durable.WriteFile(cfg.Path, []byte(edited), info.Mode().Perm()); err != nil {
		undo()
		return hint.Writing(fmt.Errorf("the port secret stays: write the configuration: %w", err))
	}
	if err := durable.WriteFile(secret.Path, []byte(secrets.Random()+"\n"), mode); err != nil {
		// If the new secret is there, the old one is still needed.
		if now, readErr := cfg.SecretFiles.ReadOne(secret.Path); readErr == nil && now == secret.Current {
			undo()
		}
		return cli.WithHint(fmt.Errorf("write the new port secret: %w", err), rollHint(err))
	}
	return nil
}

// rollHint returns what to do after the last step of a roll has failed.
func rollHint(err error) string {
	const unchanged = "the clients' ports have not changed"
	var hinted interface{ Hint() string }
	if errors.As(hint.Writing(err), &hinted) {
		return unchanged + "; " + hinted.Hint()
	}
	return unchanged + "; correct the cause, and run the same command again"
}

// readWhole reads a file, and returns its mode too.
func readWhole(path string) (text []byte, info fs.FileInfo, err error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err == nil {
		text, err = io.ReadAll(f)
	}
	return text, info, err
}

// setKeys sets keys of the top-level table in a TOML text, one on a line. It
// replaces the line of the key, or inserts a line after that of another key. It
// removes a key that has no value. Comments and all other lines stay.
func setKeys(text, after string, keys [][2]string) (string, error) {
	lines := strings.Split(text, "\n")
	at := func(key string) int {
		for i, l := range lines {
			if strings.HasPrefix(strings.TrimSpace(l), "[") {
				return -1
			}
			if name, _, ok := strings.Cut(l, "="); ok && strings.TrimSpace(name) == key {
				return i
			}
		}
		return -1
	}
	for _, k := range keys {
		line := k[0] + " = " + k[1]
		switch i := at(k[0]); {
		case k[1] == "" && i >= 0:
			lines = slices.Delete(lines, i, i+1)
			continue
		case k[1] == "":
			continue
		case i >= 0:
			lines[i] = line
			continue
		}
		i := at(after)
		if i < 0 {
			return "", errors.New("expected the line of " + after)
		}
		lines = slices.Insert(lines, i+1, line)
		after = k[0]
	}
	return strings.Join(lines, "\n"), nil
}

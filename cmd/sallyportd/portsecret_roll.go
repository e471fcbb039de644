package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/textfile"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/durable"
)

// rollPortSecret replaces the port secret in steps, each of which leaves a valid
// configuration: it copies the current secret to a file, names the copy as the
// previous secret in the configuration, and only then replaces the current one.
func rollPortSecret(cfg *config.Config, env cli.Env, until time.Time) error {
	if err := canRoll(cfg, env); err != nil {
		return cli.Misuse(err)
	}
	r := secretRoll{cfg: cfg, previous: previousPath(cfg.PortSecret)}
	if err := r.prepare(until); err != nil {
		return err
	}
	return r.write()
}

// canRoll returns an error if this command cannot replace the port secret, or the
// last roll has not ended.
func canRoll(cfg *config.Config, env cli.Env) error {
	secret := cfg.PortSecret
	if secret.Path == "" {
		return cli.WithHint(fmt.Errorf("%s contains the port secret itself; expected it in another file", cfg.Path),
			"move it to another file, and name that file with port_secret_file")
	}
	if secret.Credential {
		return cli.WithHint(errors.New("the port secret is a credential of systemd; expected a file that this command can replace"),
			"keep the old one as another credential, name it with port_secret_previous_file and port_secret_previous_until in "+
				cfg.Path+", replace the file of LoadCredential, and restart the unit")
	}
	// If both secrets are equal, an earlier roll was interrupted before its last
	// step: this one does it again, with its own date.
	interrupted := secret.Previous == secret.Current
	if secret.Previous != "" && !interrupted && env.Now().Before(secret.Until) {
		return cli.WithHint(fmt.Errorf("the last roll has not ended: the ports of the previous secret stay open until %s", env.Time(secret.Until)),
			"wait until then, or end it now: sallyportd port-secret roll --end")
	}
	return nil
}

// secretRoll is the change of the files: the configuration, the port secret, and the copy
// of the previous one.
type secretRoll struct {
	cfg              *config.Config
	before, after    []byte // the texts of the configuration
	mode, secretMode fs.FileMode
	previous         string // the path of the copy
	older            []byte // what the copy's path contains so far; nil: no file
}

// prepare reads the files, and makes the new configuration. It writes nothing.
func (r *secretRoll) prepare(until time.Time) error {
	path, secretPath := r.cfg.Path, r.cfg.PortSecret.Path
	text, info, err := readWhole(path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	decoded, err := textfile.Decode(path, text)
	if err != nil {
		return cli.Misuse(err)
	}
	edited, err := setKeys(string(decoded), "port_secret_file", [][2]string{
		{"port_secret_previous", ""},
		{"port_secret_previous_file", fmt.Sprintf("%q", relative(filepath.Dir(path), r.previous))},
		{"port_secret_previous_until", until.Format(time.RFC3339)},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err := config.Parse(path, []byte(edited)); err != nil {
		return fmt.Errorf("the change would make the configuration unreadable: %w", err)
	}
	for _, file := range []string{secretPath, path} {
		if err := durable.Replaceable(file); err != nil {
			return cli.Misuse(fmt.Errorf("the port secret stays: %w", err))
		}
	}
	_, secretInfo, err := readWhole(secretPath)
	if err != nil {
		return fmt.Errorf("read the port secret: %w", err)
	}
	r.older, _, err = readWhole(r.previous)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the previous port secret: %w", err)
	}
	r.before, r.after, r.mode, r.secretMode = text, []byte(edited), info.Mode().Perm(), secretInfo.Mode().Perm()
	return nil
}

func (r *secretRoll) write() error {
	secret := r.cfg.PortSecret
	if err := durable.WriteFileLike(r.previous, secret.Path, []byte(secret.Current+"\n"), r.secretMode); err != nil {
		r.undo()
		return hint.Writing(fmt.Errorf("the port secret stays: keep the old one: %w", err))
	}
	// A link, as of a configuration manager, stays: its target is replaced.
	if err := durable.WriteFile(r.cfg.Path, r.after, r.mode); err != nil {
		r.undo()
		return hint.Writing(fmt.Errorf("the port secret stays: write the configuration: %w", err))
	}
	if err := durable.WriteFile(secret.Path, []byte(secrets.Random()+"\n"), r.secretMode); err != nil {
		// If the new secret is there, the old one is still needed.
		if now, readErr := r.cfg.SecretFiles.ReadOne(secret.Path); readErr == nil && now == secret.Current {
			r.undo()
		}
		return cli.WithHint(fmt.Errorf("write the new port secret: %w", err), rollHint(err))
	}
	return nil
}

// undo restores the configuration and the file of the previous secret.
func (r *secretRoll) undo() {
	// The error may be that of the last step, after the file was replaced. A
	// configuration must not name a file that is not there.
	now, _, err := readWhole(r.cfg.Path)
	if err != nil || !bytes.Equal(now, r.before) && durable.WriteFile(r.cfg.Path, r.before, r.mode) != nil {
		return
	}
	if r.older != nil {
		durable.WriteFileLike(r.previous, r.cfg.PortSecret.Path, r.older, r.secretMode)
		return
	}
	durable.Remove(r.previous)
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

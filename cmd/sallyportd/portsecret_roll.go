package main

import (
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
	previousPath := secret.Path + ".previous"
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

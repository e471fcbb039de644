package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/durable"
)

// reissueAll is the hint about profiles of which all are outdated.
const reissueAll = "give each client its new profile: sallyportd client profile --all --out-dir DIR"

// profileFile is a profile that a command has written, or found unchanged.
type profileFile struct {
	Identifier string `json:"identifier"`
	File       string `json:"profile_file"`
	Changed    bool   `json:"changed"`
	// Warnings are about the addresses of the server.
	Warnings []string `json:"warnings,omitempty"`

	text []byte
}

// deliverAll writes the profiles of all clients to files in a directory: all, or
// none if a file exists that has other content and force is not set.
func (o *profileOutput) deliverAll(ctx context.Context, env cli.Env, path, dir string, force bool) error {
	if o.out != "" || o.qr {
		return cli.Misuse(errors.New("--all excludes --out and --qr"))
	}
	cfg, list, err := loadLenient(ctx, env, path, config.Secrets)
	if err != nil {
		return err
	}
	m, err := newClientMaker(ctx, env, cfg, list, o.server)
	if err != nil {
		return cli.Misuse(err)
	}
	files, err := m.files(ctx, dir)
	if err != nil {
		return err
	}
	if !force {
		for _, f := range files {
			if _, err := os.Lstat(f.File); f.Changed && err == nil {
				return cli.Misuse(cli.WithHint(fmt.Errorf("%s exists already, with other content; nothing was written", f.File),
					"name another directory, or replace the files with --force"))
			}
		}
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return hint.Writing(fmt.Errorf("make the directory: %w", err))
	}
	written := 0
	for _, f := range files {
		if f.Changed {
			if err := durable.WriteFile(f.File, f.text, 0o600); err != nil {
				return hint.Writing(fmt.Errorf("write the profile of client %s, after %s: %w", f.Identifier, count(written, "profile"), err))
			}
			written++
		}
		if o.asJSON {
			if err := env.Out().JSON(f); err != nil {
				return err
			}
		}
	}
	if o.asJSON {
		return nil
	}
	err = env.Out().Printf("%s written to %s, %d unchanged\n", count(written, "profile"), dir, len(files)-written)
	if err == nil && len(files) > 0 {
		err = printNote(env, m.addresses.note)
	}
	if err != nil || written == 0 {
		return err
	}
	return env.Err().Printf("The profiles contain secrets: transfer each over a secure channel to its device, and remove the files.\n" +
		"On the device, run: sallyport profile add FILE, or sallyport profile replace NAME FILE\n")
}

// files returns the profiles of all clients.
func (m profileMaker) files(ctx context.Context, dir string) ([]profileFile, error) {
	record, err := readRecord(ctx, m.cfg)
	if err != nil {
		return nil, fmt.Errorf("find the nonces that the clients have used: %w", err)
	}
	var files []profileFile
	for _, c := range m.list {
		c.HighestNonce = record.highestNonce(c)
		text, err := m.client(c)
		if err != nil {
			return nil, cli.Misuse(fmt.Errorf("client %s: %w", c.Identifier, err))
		}
		f := profileFile{Identifier: c.Identifier.String(), File: filepath.Join(dir, profileName(c.Identifier.String())), text: text}
		if m.addresses.note != "" {
			f.Warnings = []string{m.addresses.note}
		}
		before, err := durable.ReadFile(f.File)
		if errors.Is(err, syscall.ENOTDIR) {
			return nil, cli.Misuse(cli.WithHint(fmt.Errorf("%s: not a directory; nothing was written", dir), "name a directory with --out-dir, new or existing"))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		f.Changed = err != nil || !bytes.Equal(m.lasting(before), m.lasting(text))
		files = append(files, f)
	}
	return files, nil
}

// nonceLine is the first nonce of a profile: it grows with each knock, and does not
// make a profile outdated.
var nonceLine = regexp.MustCompile(`(?m)^nonce = .*\n`)

// addressesLine has the addresses of the server.
var addressesLine = regexp.MustCompile(`(?m)^addresses = .*\n`)

// lasting returns the lines of a profile whose changes make an earlier one outdated.
// A host that does not find the server's addresses now does not change them.
func (m profileMaker) lasting(profile []byte) []byte {
	if !m.addresses.resolved {
		profile = addressesLine.ReplaceAll(profile, nil)
	}
	return nonceLine.ReplaceAll(profile, nil)
}

// profileName returns the name of a client's profile as a file. Identifiers may contain
// separators and dots, which a name of a profile must not: these are in hexadecimal.
func profileName(identifier string) string {
	var b strings.Builder
	for _, c := range []byte(identifier) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if letter || c == '-' && b.Len() > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "+%02X", c)
		}
	}
	return b.String() + ".toml"
}

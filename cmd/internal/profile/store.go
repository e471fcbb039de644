package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/client"
	"sallyport/sessions/durable"
)

const suffix = ".toml"

// Add stores the text of a profile under a name. It returns the path of the new
// file, which only this user can read.
func Add(name string, text []byte) (path string, err error) {
	path, err = pathOf(name)
	if err != nil {
		return "", err
	}
	// The name may come from outside, as the name of a file or of a server, and the
	// client prints it as a part of commands.
	if strings.ContainsFunc(name, notInName) {
		return "", fmt.Errorf("expected a name of letters, digits and - _ . @ +, got %q", name)
	}
	if _, err := os.Lstat(path); err == nil {
		return "", hint.With(fmt.Errorf("profile %q already exists", name),
			"choose another name; or, for a new profile of the same client: sallyport profile replace "+name+" FILE")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", hint.Writing(fmt.Errorf("create the config directory: %w", err))
	}
	if err := durable.WriteFile(path, text, 0o600); err != nil {
		return "", hint.Writing(fmt.Errorf("write the profile: %w", err))
	}
	return path, nil
}

// Replace replaces the text of a stored profile. If a program has a secret of the new
// one, it must be the same, and is not stored.
func (r Reader) Replace(ctx context.Context, name string, data []byte) (s Stored, err error) {
	if s.Path, err = pathOf(name); err != nil {
		return s, err
	}
	if s.Programs, err = readPrograms(s.Path); err != nil {
		return s, err
	}
	_, locked, err := IsLocked(name)
	if err != nil {
		return s, err
	}
	text, _, err := r.settle(ctx, s.Path, data, s.Programs)
	if err != nil {
		return s, err
	}
	if err := r.store(ctx, s.Path, text, locked); err != nil {
		return s, err
	}
	s.Content, err = decode(text)
	return s, err
}

// store replaces the file of a stored profile. With locked, no text that is not locked
// reaches the disk.
func (r Reader) store(ctx context.Context, path string, text []byte, locked bool) (err error) {
	if locked {
		if text, err = r.Locker.Lock(ctx, path, text); err != nil {
			return err
		}
	}
	if err := durable.WriteFile(path, text, 0o600); err != nil {
		return hint.Writing(fmt.Errorf("write the profile: %w", err))
	}
	return nil
}

// Remove removes the profile of a name with its local file, and returns the path of its
// file.
func Remove(name string) (path string, err error) {
	path, err = pathOf(name)
	if err != nil {
		return "", err
	}
	if err := durable.Remove(path); err != nil {
		return "", hint.With(fmt.Errorf("no profile %q: %w", name, err), "list the names: sallyport profile list")
	}
	return path, writePrograms(path, Programs{})
}

// Names returns the names of all stored profiles, sorted.
func Names() ([]string, error) {
	dir, err := configDir("")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the profiles: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// OfSameClient returns the names of the other stored profiles that have the client and
// the server of p. They share one nonce file. It ignores profiles that it cannot read.
func OfSameClient(name string, p client.Profile) (same []string) {
	if !p.HasSequence() {
		return nil
	}
	names, err := Names()
	if err != nil {
		return nil
	}
	for _, other := range names {
		if other == name {
			continue
		}
		o, err := Load(other)
		if err == nil && o.HasSequence() && sameServer(o, p) && o.Identifier == p.Identifier {
			same = append(same, other)
		}
	}
	return same
}

// sameServer reports whether two profiles have a server in common.
func sameServer(a, b client.Profile) bool {
	servers := func(p client.Profile) []string {
		all := []string{p.Server}
		for _, g := range p.Gateways {
			all = append(all, g.Server)
		}
		return all
	}
	of := servers(b)
	return slices.ContainsFunc(servers(a), func(s string) bool { return s != "" && slices.Contains(of, s) })
}

// pathOf returns the path of the profile of a name. A name has no separators, and
// does not begin with a dot or a dash.
func pathOf(name string) (string, error) {
	if isPath(name) || name == "" || name[0] == '.' || name[0] == '-' || strings.ContainsAny(name, "/\\: \t\r\n") {
		return "", fmt.Errorf("expected a name such as \"work\", without spaces, separators or .toml, got %q", name)
	}
	dir, err := configDir(name + suffix)
	return filepath.Join(dir, name+suffix), err
}

func notInName(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("-_.@+", r)
}

func isPath(nameOrPath string) bool {
	return strings.ContainsRune(nameOrPath, '/') || strings.ContainsRune(nameOrPath, filepath.Separator) ||
		strings.HasSuffix(nameOrPath, suffix)
}

// configDir returns the directory with the profiles. file is the one that is looked
// for; empty: the directory itself.
func configDir(file string) (string, error) {
	dirs, err := configDirs()
	if err != nil {
		return "", fmt.Errorf("find the user's config directory: %w; the path of a profile can stand for its name", err)
	}
	return existing(dirs, file), nil
}

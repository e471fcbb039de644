package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/secretfile"
	"sallyport/sessions/durable"
	"sallyport/verify/wire"
)

// editClients changes the clients file under a lock: what other commands do
// at the same time is neither lost nor mixed in. Comments stay. If change or
// anything else fails, the file stays as it is.
func editClients(ctx context.Context, path string, change func([]clientLine) ([]clientLine, error)) error {
	// A link stays one: what it leads to is replaced.
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("read the clients: %w", err)
	}
	unlock, err := lockLike(ctx, path)
	if err != nil {
		return fmt.Errorf("lock the clients file: %w", err)
	}
	defer unlock()
	f, err := secretfile.Open(path)
	if err != nil {
		return fmt.Errorf("read the clients: %w", err)
	}
	lines, err := parseToMend(path, f)
	f.Close()
	if err != nil {
		return err
	}
	if lines, err = change(lines); err != nil {
		return err
	}
	var text strings.Builder
	for _, l := range lines {
		if l.client != nil {
			if before, err := parseClient(l.text); err != nil || !reflect.DeepEqual(before, *l.client) {
				// Without its restriction the client could open everything.
				if err := l.client.fault.err(); err != nil {
					return cli.WithHint(fmt.Errorf("client %s: %w", l.client.identifier, err), l.client.mending())
				}
				l.text = l.client.String()
			}
		}
		text.WriteString(l.text + "\n")
	}
	// What is written must be readable again.
	if _, err := parseToMend(path, strings.NewReader(text.String())); err != nil {
		return fmt.Errorf("the change would make the clients file unreadable: %w", err)
	}
	if err := durable.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write the clients file: %w", err)
	}
	return nil
}

// lockLike takes the lock of a file, which then belongs to the file's owner,
// whoever makes it first.
func lockLike(ctx context.Context, path string) (unlock func(), err error) {
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		return nil, err
	}
	durable.KeepOwner(path+".lock", path)
	return func() { lock.Close() }, nil
}

// find returns the place of a client's line.
func find(lines []clientLine, id wire.Identifier) (int, error) {
	i := slices.IndexFunc(lines, func(l clientLine) bool { return l.client != nil && l.client.identifier == id })
	if i < 0 {
		return 0, fmt.Errorf("there is no client %s", id)
	}
	return i, nil
}

// parseFileIdentifier reads an identifier that a line of the file can hold.
func parseFileIdentifier(s string) (wire.Identifier, error) {
	id, err := wire.ParseIdentifier(s)
	if err == nil && (strings.Contains(s, " ") || s[0] == '#') {
		err = errors.New("an identifier in the clients file has no spaces and does not begin with #")
	}
	return id, err
}

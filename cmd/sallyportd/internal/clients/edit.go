package clients

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/durable"
	"sallyport/verify/wire"
)

// Edit changes the clients file under a lock: concurrent changes by other commands
// are neither lost nor mixed. Comments and the mode stay. A file whose last line has
// no newline is an UnfinishedError. If change or another step fails, the file stays as
// it is.
func Edit(ctx context.Context, path string, change func([]Line) ([]Line, error)) error {
	// A symbolic link stays: its target is replaced.
	return durable.AsOwner(path, func(path string) error { return edit(ctx, path, change) })
}

func edit(ctx context.Context, path string, change func([]Line) ([]Line, error)) error {
	if err := durable.Replaceable(path); err != nil {
		return hint.Writing(fmt.Errorf("write the clients file: %w", err))
	}
	unlock, err := Lock(ctx, path)
	if err != nil {
		return hint.Writing(fmt.Errorf("lock the clients file: %w", err))
	}
	defer unlock()
	f, info, err := open(path)
	if err != nil {
		return err
	}
	before, err := readWhole(path, f)
	f.Close()
	if err != nil {
		return err
	}
	lines, err := ParseLenient(path, strings.NewReader(before))
	if err != nil {
		return err
	}
	if lines, err = change(lines); err != nil {
		return err
	}
	var text strings.Builder
	for _, l := range lines {
		if l.Client != nil {
			if l.Text, err = l.Rewritten(); err != nil {
				return err
			}
		}
		text.WriteString(l.Text + "\n")
	}
	// The new text must be valid.
	if _, err := ParseLenient(path, strings.NewReader(text.String())); err != nil {
		return fmt.Errorf("the change would make the clients file unreadable: %w", err)
	}
	if err := durable.WriteFile(path, []byte(text.String()), info.Mode().Perm()); err != nil {
		return hint.Writing(fmt.Errorf("write the clients file: %w", err))
	}
	return nil
}

// Rewritten returns the text of a client's line: unchanged, if the client is.
func (l Line) Rewritten() (string, error) {
	before, err := parseClient(l.Text)
	if err == nil && reflect.DeepEqual(before, *l.Client) {
		return l.Text, nil
	}
	// An unreadable restriction cannot be written again, and without it the client
	// could open all services.
	if err := l.Client.issue.err(); err != nil {
		return "", hint.With(fmt.Errorf("client %s: %w", l.Client.Identifier, err), l.Client.HowToFix())
	}
	return l.Client.String(), nil
}

// Remove removes a client's line from the clients file, under the lock. All other
// lines stay as they are, even if the file is invalid: a line may be unreadable,
// the last newline may be missing, and other users may have the permission to read
// the file. Remove reports whether there was such a line.
func Remove(ctx context.Context, path string, id wire.Identifier) (found bool, err error) {
	err = durable.AsOwner(path, func(path string) error {
		found, err = remove(ctx, path, id)
		return err
	})
	return found, err
}

func remove(ctx context.Context, path string, id wire.Identifier) (found bool, err error) {
	unlock, err := Lock(ctx, path)
	if err != nil {
		return false, hint.Writing(fmt.Errorf("lock the clients file: %w", err))
	}
	defer unlock()
	f, info, err := open(path)
	if err != nil {
		return false, err
	}
	before, err := readWhole(path, f)
	f.Close()
	var unfinished *UnfinishedError
	if err != nil && !errors.As(err, &unfinished) {
		return false, err
	}
	var after strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(before, "\ufeff")) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == id.String() {
			found = true
			continue
		}
		after.WriteString(line)
	}
	if !found {
		return false, nil
	}
	if err := durable.WriteFile(path, []byte(after.String()), info.Mode().Perm()); err != nil {
		return true, hint.Writing(fmt.Errorf("write the clients file: %w", err))
	}
	return true, nil
}

// Lock takes the lock of a file, as durable.TakeLock does. The lock file belongs to
// the owner of the file, regardless of the user that creates it.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	lock, err := durable.TakeLock(ctx, path+".lock", path, 10*time.Millisecond)
	if err != nil {
		return nil, err
	}
	return func() { lock.Close() }, nil
}

// Find returns the index of a client's line.
func Find(lines []Line, id wire.Identifier) (int, error) {
	i := slices.IndexFunc(lines, func(l Line) bool { return l.Client != nil && l.Client.Identifier == id })
	if i < 0 {
		return 0, fmt.Errorf("there is no client %s", id)
	}
	return i, nil
}

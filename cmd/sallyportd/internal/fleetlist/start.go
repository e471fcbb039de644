package fleetlist

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/fleet/roster"
)

const (
	// startPause is the time between two attempts to read the list at a start without a copy.
	startPause = time.Second
	// startLogPause is the time between two lines about that.
	startLogPause = time.Minute
)

// Start returns the copy of this host, and the clients with which the server starts: those
// of the copy. Without a copy, it waits until etcd has answered: with a list, of which it
// writes the copy, or without one: then there are no clients. A copy that cannot be used
// is replaced by the list in etcd, if that can be read: it may have been corrected since.
// The caller must have locked the state directory.
func Start(ctx context.Context, cfg *config.Config, now func() time.Time, log *slog.Logger) (*Copy, clients.Loaded, error) {
	c := NewCopy(cfg)
	loaded, err := c.open(cfg)
	if err == nil {
		return c, loaded, nil
	}
	missing := errors.Is(err, fs.ErrNotExist)
	if !missing {
		log.Warn("copy of the list of clients unusable; reading the list", "error", err)
	}
	l, openErr := Open(cfg, now, log)
	if openErr != nil {
		return nil, loaded, errors.Join(err, openErr)
	}
	defer l.Close()
	for logged := (time.Time{}); ; {
		t, loadErr := l.newest(ctx)
		switch key := new(roster.KeyError); {
		case errors.Is(loadErr, roster.ErrNone) && missing:
			log.Warn("no list of clients in etcd yet; starting without clients", "hint", "write it: sallyportd client import FILE")
			return c, clients.Loaded{Whole: true}, nil
		case loadErr == nil:
			if err := c.replace(t); err != nil {
				return nil, loaded, err
			}
			loaded, err := c.open(cfg)
			return c, loaded, err
		case !missing: // the copy is the fault
			return nil, loaded, err
		case errors.As(loadErr, &key), ctx.Err() != nil:
			return nil, loaded, loadErr
		}
		if t := time.Now(); logged.IsZero() || t.Sub(logged) >= startLogPause {
			logged = t
			log.Warn("waiting for the list of clients; nothing opens", "error", loadErr, "hint", todo(loadErr))
		}
		select {
		case <-time.After(startPause):
		case <-ctx.Done():
			return nil, loaded, context.Cause(ctx)
		}
	}
}

// todo returns the hint of an error.
func todo(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return "this server has no copy of the list yet: see whether etcd answers"
}

// open reads the file, which the server has from then on.
func (c *Copy) open(cfg *config.Config) (clients.Loaded, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	loaded, err := clients.Read(c.path, cfg.SecretFiles, cfg.ServiceNames())
	if err == nil && !loaded.Whole {
		err = &clients.UnfinishedError{Path: c.path}
	}
	if err != nil {
		return loaded, err
	}
	t, state, err := c.read()
	if err == nil && state != loaded.State {
		err = &ChangedError{c.path}
	}
	if err != nil {
		return loaded, err
	}
	defer clear(t.all)
	c.state, c.mark, c.sum = state, t.mark, t.sum()
	c.loaded, c.applied, c.version = c.sum, c.sum, t.mark.Version
	return loaded, nil
}

// newest reads the list.
func (l *List) newest(ctx context.Context) (text, error) {
	entries, mark, err := l.roster.Load(ctx)
	if err != nil {
		return text{}, err
	}
	changes := make([]roster.Change, len(entries))
	for i, e := range entries {
		changes[i] = roster.Change(e)
	}
	return whole(mark, changes)
}

// replace writes a list.
func (c *Copy) replace(t text) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer clear(t.all)
	if _, err := c.write(t); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

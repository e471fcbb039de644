package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sallyport/sessions/durable"
)

// Lock is the lock of a state directory: one process at a time has it.
type Lock struct{ lock *durable.Lock }

// TakeLock takes the lock of a directory before Open, for a server that must not
// change anything else while another one runs. It makes the directory if it does
// not exist. If another process has the lock, TakeLock logs that it waits, waits for
// at most wait, and then returns a LockedError.
func TakeLock(ctx context.Context, dir string, wait time.Duration, log *slog.Logger) (*Lock, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	lock, err := takeLock(ctx, dir, 0)
	var locked *LockedError
	if errors.As(err, &locked) && wait > 0 {
		log.Warn("another server has the state directory; waiting for its end", "file", dir)
		lock, err = takeLock(ctx, dir, wait)
	}
	if err != nil {
		return nil, err
	}
	return &Lock{lock}, nil
}

// Close releases the lock.
func (l *Lock) Close() error { return l.lock.Close() }

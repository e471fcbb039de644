package state

import (
	"context"
	"fmt"
	"time"

	"sallyport/sessions/durable"
)

// Lock is the right to a state directory: one process at a time has it.
type Lock struct{ lock *durable.Lock }

// TakeLock takes a directory for this process before Open, for a server that must
// touch nothing else while another one runs. The directory is made if need be. If
// another process has it, TakeLock waits for it so long; the error is then a
// LockedError.
func TakeLock(ctx context.Context, dir string, wait time.Duration) (*Lock, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	lock, err := takeLock(ctx, dir, wait)
	if err != nil {
		return nil, err
	}
	return &Lock{lock}, nil
}

// Close gives the directory back.
func (l *Lock) Close() error { return l.lock.Close() }

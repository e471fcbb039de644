package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"sallyport/ingest/prefilter"
)

var (
	errEnded    = errors.New("ingest: the receiver has stopped")
	errPrepared = errors.New("ingest: another change is already prepared")
)

// Prepare prepares new settings while Run runs. Every step that can fail is
// done here: it draws the ports, opens the new ones, and sets each tier before
// the sockets to accept what the old or the new settings accept. On an error the
// old settings stay in force everywhere. The new ports accept nothing yet. A port
// that cannot be opened is no error.
//
// Then call either commit or abort, once, from any goroutine. commit puts the
// new settings in force. When it returns, the open ports are those of the new
// settings, and knocks of new clients are accepted. Ports that both settings
// have stayed open, and no knock that is valid under both is lost. commit fails
// only if Run has ended, or ends with this error. abort closes the new ports.
// Prepare fails while another change is prepared.
func (r *Receiver) Prepare(ctx context.Context, s Settings) (commit func() error, abort func(), err error) {
	if !s.complete() {
		return nil, nil, errors.New("ingest: the new settings are incomplete: rules and ports are required")
	}
	next := compile(s, r.cfg.Now())
	var refused error
	err = r.runInRotation(ctx, func(rot *rotation) (err error) {
		refused, err = rot.prepare(next)
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, nil, err
	}
	var once sync.Once
	commit = func() error {
		err := errors.New("ingest: the change has already been committed or aborted")
		once.Do(func() { err = r.runInRotation(context.Background(), (*rotation).commit) })
		return err
	}
	abort = func() {
		once.Do(func() { r.runInRotation(context.Background(), (*rotation).abort) })
	}
	return commit, abort, nil
}

// runInRotation calls do in the rotation's goroutine, and waits for it. An error
// that do returns ends Run.
func (r *Receiver) runInRotation(ctx context.Context, do func(*rotation) error) error {
	done := make(chan error, 1)
	select {
	case r.changes <- func(rot *rotation) error {
		err := do(rot)
		done <- err
		return err
	}:
		return <-done
	case <-r.ended:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// prepare makes settings the next ones. If they are refused, it restores the
// state from before; if that fails, err ends Run.
func (r *rotation) prepare(next *compiled) (refused, err error) {
	if r.next != nil {
		return errPrepared, nil
	}
	r.next = next
	if refused = r.refresh(); refused != nil {
		return fmt.Errorf("prepare the new settings: %w", refused), r.abort()
	}
	return nil, nil
}

// commit puts the next settings in force.
func (r *rotation) commit() error {
	r.settings.Store(&r.next.Settings)
	r.current, r.next, r.union, r.united = r.next, nil, nil, [2]*prefilter.Identifiers{}
	err := r.refresh()
	for _, sh := range r.shards {
		sh.wake() // otherwise the old settings would stay in memory until the next datagram
	}
	return err
}

// abort discards the next settings.
func (r *rotation) abort() error {
	r.next, r.union, r.united = nil, nil, [2]*prefilter.Identifiers{}
	return r.refresh()
}

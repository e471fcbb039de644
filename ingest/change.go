package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

var (
	errEnded    = errors.New("ingest: the server has stopped")
	errPrepared = errors.New("ingest: another change is prepared")
)

// Prepare makes new terms ready while Run runs. All that can fail, fails here,
// and leaves the old terms in force everywhere: drawing the ports, and each tier
// before the sockets, which from here on lets in what the old or the new terms
// accept. The new ports are opened, and take nothing yet; one that cannot be
// opened is no error.
//
// Then call either commit or abort, once, from any goroutine. commit puts the
// new terms in force. When it returns, the ports are those of the new terms, and
// new clients are let in; ports that stay were not touched, and no knock that is
// good under both terms is lost. It fails only if Run has ended, or ends by this
// error. abort closes the new ports. Prepare fails while a change is prepared.
func (s *Receiver) Prepare(ctx context.Context, t Settings) (commit func() error, abort func(), err error) {
	if !t.complete() {
		return nil, nil, errors.New("ingest: the new terms are incomplete")
	}
	next := newSettings(t)
	var refused error
	err = s.change(ctx, func(r *rotation) (err error) {
		refused, err = r.prepare(next)
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
		err := errors.New("ingest: the change has been committed or aborted")
		once.Do(func() { err = s.change(context.Background(), (*rotation).commit) })
		return err
	}
	abort = func() {
		once.Do(func() { s.change(context.Background(), (*rotation).abort) })
	}
	return commit, abort, nil
}

// change has the rotation's goroutine do something, and waits for it. An error
// of it ends Run.
func (s *Receiver) change(ctx context.Context, do func(*rotation) error) error {
	done := make(chan error, 1)
	select {
	case s.changes <- func(r *rotation) error {
		err := do(r)
		done <- err
		return err
	}:
		return <-done
	case <-s.ended:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// prepare makes settings the next ones. If they are refused, all is as it was,
// or there is an error that ends Run.
func (r *rotation) prepare(next *settings) (refused, err error) {
	if r.next != nil {
		return errPrepared, nil
	}
	r.next = next
	if refused = r.look(); refused != nil {
		return fmt.Errorf("prepare new terms: %w", refused), r.abort()
	}
	return nil, nil
}

// commit puts the next settings in force.
func (r *rotation) commit() error {
	r.terms.Store(&r.next.Settings)
	r.current, r.next = r.next, nil
	err := r.look()
	for _, sh := range r.shards {
		sh.wake() // or the old terms live until the next datagram
	}
	return err
}

// abort gives the next settings up.
func (r *rotation) abort() error {
	r.next = nil
	return r.look()
}

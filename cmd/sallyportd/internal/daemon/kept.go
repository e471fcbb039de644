package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"sallyport/sessions/state"
)

// The most leases without an end: of a client, and of an operation that belongs to
// no client. state.MaxKept limits all of them together. A further one is refused: it
// replaces none, so that an insider who has such an operation's secret cannot end
// the leases of others.
const (
	maxKeptOfClient    = 256
	maxKeptOfOperation = 256
)

// kept are the leases that last until they are closed. The record is the truth: a
// lease is recorded before the gate opens it, and the gate opens it again after a
// restart, or when it has lost it for another reason than its end. A lease that the
// gate has ended is removed from the record. Its methods may be called concurrently.
type kept struct {
	write func([]state.Kept) error // see state.WriteKept
	read  func() ([]state.Kept, error)
	drop  func() error
	log   *slog.Logger
	wake  chan struct{} // something must be written, or opened

	// serial is held while leases are opened, opened again, or ended by an
	// operation, by the administrator or by a reload.
	serial sync.Mutex

	writing sync.Mutex // one flush at a time
	failing bool       // the last flush failed
	logged  bool       // that was logged
	mu      sync.Mutex
	leases  map[address]state.Kept
	// onDisk are the leases that the file may have, also after a power failure.
	onDisk  map[state.Kept]bool
	unknown bool // the file may have others
}

// loadKept reads the record of a state directory, whose lock this process has. A
// record that is not whole opens nothing, and is set aside.
func loadKept(dir string, now time.Time, log *slog.Logger) (*kept, []state.Kept) {
	k := newKept(log)
	k.write = func(list []state.Kept) error { return state.WriteKept(dir, list) }
	k.read = func() ([]state.Kept, error) { return state.ReadKept(dir) }
	k.drop = func() error { return state.DropKept(dir) }
	list, err := k.read()
	if err != nil {
		aside, asideErr := state.SetKeptAside(dir, now)
		log.Error("recorded leases unreadable; opening none of them", "error", errors.Join(err, asideErr), "file", aside)
		k.unknown = asideErr != nil
	}
	for _, l := range list {
		k.onDisk[l] = true
	}
	return k, list
}

func newKept(log *slog.Logger) *kept {
	return &kept{log: log, wake: make(chan struct{}, 1), leases: map[address]state.Kept{}, onDisk: map[state.Kept]bool{}}
}

// keptLease is a lease for the record, with its key.
type keptLease struct {
	at address
	state.Kept
}

// put records leases. It returns the error of each, nil if all are on stable
// storage, and a function that undoes one of them.
func (k *kept) put(list []keptLease) (errs []error, undo func(i int)) {
	errs = make([]error, len(list))
	before, written := make([]*state.Kept, len(list)), make([]state.Kept, len(list))
	k.mu.Lock()
	for i, l := range list {
		if was, ok := k.leases[l.at]; ok {
			l.Since, before[i] = was.Since, &was
		} else if errs[i] = k.hasRoom(l); errs[i] != nil {
			continue
		}
		k.leases[l.at], written[i] = l.Kept, l.Kept
	}
	k.mu.Unlock()
	undo = func(i int) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.leases[list[i].at] != written[i] {
			return // it has ended meanwhile, for good
		}
		if before[i] != nil {
			k.leases[list[i].at] = *before[i]
		} else {
			delete(k.leases, list[i].at)
		}
		k.wakeUp()
	}
	if err, _ := k.flush(); err != nil {
		for i := len(list) - 1; i >= 0; i-- {
			if errs[i] == nil {
				errs[i] = fmt.Errorf("record a lease without an end: %w", err)
				undo(i)
			}
		}
	}
	return errs, undo
}

// hasRoom returns an error if the record is full for a new lease.
func (k *kept) hasRoom(l keptLease) error {
	same, limit := 0, maxKeptOfClient
	for at, other := range k.leases {
		if ownerless(l.at.client) {
			limit = maxKeptOfOperation
			if ownerless(at.client) && other.Operation == l.Operation {
				same++
			}
		} else if at.client == l.at.client {
			same++
		}
	}
	switch {
	case same >= limit:
		return fmt.Errorf("operation %s, or its client, has %d leases without an end, which is the limit", l.Operation, same)
	case len(k.leases) >= state.MaxKept:
		return fmt.Errorf("there are %d leases without an end, which is the limit", len(k.leases))
	}
	return nil
}

// end removes a lease from the record. It is gone from the disk after the next flush.
func (k *kept) end(at address) { k.endIf(func(other address) bool { return other == at }) }

// endIf removes the leases for which is returns true, and returns them.
func (k *kept) endIf(is func(address) bool) (gone []keptLease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for at, l := range k.leases {
		if is(at) {
			gone = append(gone, keptLease{at, l})
			delete(k.leases, at)
			k.wakeUp()
		}
	}
	return gone
}

// has reports whether a lease is recorded.
func (k *kept) has(at address) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, recorded := k.leases[at]
	return recorded
}

// all returns all recorded leases, the earliest first.
func (k *kept) all() (list []keptLease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for at, l := range k.leases {
		list = append(list, keptLease{at, l})
	}
	slices.SortFunc(list, func(a, b keptLease) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return bytes.Compare(fmt.Append(nil, a.at), fmt.Append(nil, b.at))
	})
	return list
}

func (k *kept) wakeUp() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// flush writes the record. err: not all leases are on stable storage. endErr: a
// lease that has ended may still be there, so that the next start would open it. If
// the record cannot be written, flush removes the whole file rather than leave such
// a lease there: the next start then opens none.
func (k *kept) flush() (err, endErr error) {
	k.writing.Lock()
	defer k.writing.Unlock()
	k.mu.Lock()
	list := slices.Collect(maps.Values(k.leases))
	written := !k.unknown && len(list) == len(k.onDisk) && !slices.ContainsFunc(list, func(l state.Kept) bool { return !k.onDisk[l] })
	k.mu.Unlock()
	if written {
		k.report(nil, false, false)
		return nil, nil
	}
	slices.SortFunc(list, func(a, b state.Kept) int { return a.Since.Compare(b.Since) })
	if err = k.write(list); err == nil {
		k.setOnDisk(list, false)
		k.report(nil, false, false)
		return nil, nil
	}
	// The file has the old leases, or the new ones.
	now, readErr := k.read()
	if readErr != nil {
		now = list
	}
	k.mu.Lock()
	for _, l := range now {
		k.onDisk[l] = true
	}
	ended := k.unknown || readErr != nil
	lasts := make(map[state.Kept]bool, len(list))
	for _, l := range list {
		lasts[l] = true
	}
	for l := range k.onDisk {
		ended = ended || !lasts[l]
	}
	k.mu.Unlock()
	if ended {
		if endErr = k.drop(); endErr == nil {
			k.setOnDisk(nil, false)
		}
	}
	k.report(errors.Join(err, endErr), ended, endErr == nil)
	return err, endErr
}

func (k *kept) setOnDisk(list []state.Kept, unknown bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.onDisk)
	for _, l := range list {
		k.onDisk[l] = true
	}
	k.unknown = unknown
}

// report logs when the end of a lease cannot be recorded, and when the record is
// complete again. Dropped: no lease is recorded now. The caller reports leases that
// cannot be opened.
func (k *kept) report(err error, ended, dropped bool) {
	k.failing = err != nil
	switch {
	case err == nil && k.logged:
		k.log.Info("leases without an end recorded again")
		k.logged = false
	case err != nil && ended && !k.logged && dropped:
		k.log.Error("leases without an end not recorded; a restart opens none", "error", err)
		k.logged = true
	case err != nil && ended && !k.logged:
		k.log.Error("failed to record the end of leases; retrying", "error", err, "hint", "until then a restart may open closed leases again")
		k.logged = true
	}
}

// isFailing reports whether the last flush failed.
func (k *kept) isFailing() bool {
	k.writing.Lock()
	defer k.writing.Unlock()
	return k.failing
}

package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"sallyport/sessions/clock"
	"sallyport/sessions/durable"
)

// Config is what Open needs. All fields but Relaxed, Lock and the clocks are
// required.
type Config struct {
	Dir     string // made if need be
	Relaxed bool   // Record returns before the entries are durable
	Now     time.Time
	Wait    time.Duration // for a process that has the directory
	Lock    *Lock         // of the directory, which Open takes over; nil: Open takes it
	Log     *slog.Logger
	// Monotonic and Boot are clock.Clock's: lines of the log about one trouble
	// keep their distance by the first, a doubt ends by the second. nil: this
	// host's.
	Monotonic, Boot func() time.Time
}

// Store is the state file while a server uses it. It is a sessions.Journal.
type Store struct {
	path    string
	lock    *durable.Lock
	log     *slog.Logger
	relaxed bool

	monotonic func() time.Time
	boot      func() time.Time
	opened    time.Time // by boot
	gap       Gap       // of this start
	newest    atomic.Uint32

	failures atomic.Uint64

	mu      sync.Mutex // one transaction at a time
	header  header
	doubts  doubts
	trouble trouble

	swap sync.RWMutex // for db, which only changes under mu as well
	db   *bolt.DB     // nil: closed, or to be opened again

	late   late
	leases leaseTable
}

// LockedError says that another process has the directory.
type LockedError struct{ Dir string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("the state directory %s belongs to another process", e.Dir)
}

// Hint says what to do.
func (e *LockedError) Hint() string {
	return "one server at a time: stop the other one, or give this one a state_dir of its own"
}

// Open takes a directory for this process and reads what is in it; Gap then says
// what the start has to refuse. A file that is not there is made, and doubted:
// it may have been lost. An earlier form is
// written anew in this one. Errors are DamagedError, NewerError, LockedError,
// or the system's.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	if cfg.Monotonic == nil {
		cfg.Monotonic = clock.System().Monotonic
	}
	if cfg.Boot == nil {
		cfg.Boot = clock.System().Boot
	}
	s := &Store{
		path: filepath.Join(cfg.Dir, FileName), log: cfg.Log, relaxed: cfg.Relaxed,
		monotonic: cfg.Monotonic, boot: cfg.Boot, opened: cfg.Boot(),
	}
	if cfg.Lock == nil {
		if cfg.Lock, err = TakeLock(ctx, cfg.Dir, cfg.Wait); err != nil {
			return nil, err
		}
	}
	s.lock = cfg.Lock.lock
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	h, err := s.prepare(cfg)
	if err != nil {
		return nil, err
	}
	// Whoever made the file may not have lived to sync its name.
	if err := durable.SyncDirectory(cfg.Dir); err != nil {
		return nil, fmt.Errorf("sync the state directory: %w", err)
	}
	if s.db, err = bolt.Open(s.path, 0o600, options(time.Second)); err != nil {
		return nil, fmt.Errorf("open the state file: %w", err)
	}
	if h != s.header {
		s.header = h
		if err := s.update(nil, nil); err != nil {
			s.db.Close()
			return nil, fmt.Errorf("write to the state file: %w", err)
		}
	}
	if cfg.Relaxed {
		s.late.start(s.header.reserved, func() { s.flush(nil, nil) }) // what comes of it is in the log
	}
	return s, nil
}

// prepare sees to it that there is a sound file of this form, fills in its
// header, and returns the one that it has to have while the store is open.
func (s *Store) prepare(cfg Config) (header, error) {
	c, err := readFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.log.Warn("state file missing; creating one, rejecting older knocks", "file", s.path)
		c = &contents{version: version, header: headerAfterLoss}
		if err := write(s.path, c.header, nil, nil); err != nil {
			return header{}, fmt.Errorf("make the state file: %w", err)
		}
	case err != nil:
		return header{}, err
	case c.version < version:
		c.fromForm1(cfg.Now)
		if err := write(s.path, c.header, c.entries, c.leases); err != nil {
			return header{}, fmt.Errorf("bring the state file to form %d: %w", version, err)
		}
		if c, err = readFile(s.path); err != nil {
			return header{}, err
		}
		s.log.Info("state file converted", "file", s.path, "version", version)
	}
	s.header = c.header
	s.leases.reset(c.leases)
	for _, e := range c.entries {
		s.seen(e)
	}
	h := c.header.next()
	s.gap = gapOf(h)
	h.open, h.served = cfg.Relaxed, true
	return h, nil
}

// lockPause is how long to wait before the next try to take a lock.
const lockPause = 20 * time.Millisecond

func takeLock(ctx context.Context, dir string, wait time.Duration) (*durable.Lock, error) {
	return lockBy(ctx, dir, wait, func(ctx context.Context, path string) (*durable.Lock, error) {
		return durable.TakeLock(ctx, path, dir, lockPause)
	})
}

// lockThere is takeLock for readers: if there is no lock, no server holds it,
// and none is made.
func lockThere(ctx context.Context, dir string, wait time.Duration) (*durable.Lock, error) {
	return lockBy(ctx, dir, wait, func(ctx context.Context, path string) (*durable.Lock, error) {
		return durable.TakeExistingLock(ctx, path, lockPause)
	})
}

func lockBy(ctx context.Context, dir string, wait time.Duration, take func(context.Context, string) (*durable.Lock, error)) (*durable.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	lock, err := take(ctx, filepath.Join(dir, FileName+".lock"))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, &LockedError{dir}
	case err != nil:
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	return lock, nil
}

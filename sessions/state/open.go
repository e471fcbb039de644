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

// Config is the configuration of Open. All fields except Relaxed, Lock and the
// clocks are required.
type Config struct {
	Dir     string // Open makes it if it does not exist
	Relaxed bool   // Record returns before the entries are durable
	Now     time.Time
	Wait    time.Duration // how long to wait for another process that has the lock
	Lock    *Lock         // the lock of the directory, which the Store releases; nil: Open takes it
	Log     *slog.Logger
	// Monotonic and Boot are as in clock.Clock. Monotonic limits the rate of log
	// messages about errors; the margin of a gap ends by Boot. nil: the clocks of
	// this host.
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

	writes   atomic.Uint64
	failures atomic.Uint64

	mu       sync.Mutex // one transaction at a time
	header   header
	repair   repairKind
	errorLog errorLog

	swap sync.RWMutex // protects db, which changes only while mu is held too
	db   *bolt.DB     // nil: closed, or an error requires a repair

	behind writeBehind
	leases leaseTable
}

// LockedError is the error if another process has the lock of the directory.
type LockedError struct{ Dir string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("the state directory %s is in use by another process", e.Dir)
}

// Hint returns a remedy.
func (e *LockedError) Hint() string {
	return "stop the other server, or set another state_dir for this one"
}

// Open takes the lock of a directory and reads the state file. The Gap then
// describes which knocks the start must refuse. If the file does not exist, Open
// makes it, with the margin of a lost file. If the file has an earlier format,
// Open writes it again in this one. Errors are DamagedError, NewerError,
// LockedError, or errors of the system.
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
		if cfg.Lock, err = TakeLock(ctx, cfg.Dir, cfg.Wait, cfg.Log); err != nil {
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
	// The process that made the file may have crashed before it synced the name.
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
		s.behind.start(s.header.reservedUntil, func() { s.flush(nil, nil) }) // flush logs errors
	}
	return s, nil
}

// prepare reads the file, or makes it, or writes it again in this format. It sets
// s.header to the header of the file, and returns the header that the file must
// have while the store is open.
func (s *Store) prepare(cfg Config) (header, error) {
	c, err := readFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.log.Warn("state file missing; creating one, rejecting older knocks", "file", s.path)
		c = &contents{version: version, header: headerAfterLoss}
		if err := write(s.path, c.header, *c); err != nil {
			return header{}, fmt.Errorf("make the state file: %w", err)
		}
	case err != nil:
		return header{}, err
	case c.version < version:
		if c.version == 1 {
			c.fromForm1(cfg.Now)
		}
		if err := write(s.path, c.header, *c); err != nil {
			return header{}, fmt.Errorf("convert the state file to format %d: %w", version, err)
		}
		if c, err = readFile(s.path); err != nil {
			return header{}, err
		}
		s.log.Info("state file converted", "file", s.path, "version", version)
	}
	s.header = c.header
	s.leases.reset(c.leases)
	for _, e := range c.entries {
		s.noteStamp(e)
	}
	h := c.header.atStart()
	s.gap = gapOf(h)
	h.open, h.served = cfg.Relaxed, true
	return h, nil
}

// lockPause is the time between two attempts to take a lock.
const lockPause = 20 * time.Millisecond

func takeLock(ctx context.Context, dir string, wait time.Duration) (*durable.Lock, error) {
	return lockWith(ctx, dir, wait, func(ctx context.Context, path string) (*durable.Lock, error) {
		return durable.TakeLock(ctx, path, dir, lockPause)
	})
}

// takeExistingLock is takeLock for readers: if the lock's file does not exist, no
// server has the lock, and takeExistingLock makes no file.
func takeExistingLock(ctx context.Context, dir string, wait time.Duration) (*durable.Lock, error) {
	return lockWith(ctx, dir, wait, func(ctx context.Context, path string) (*durable.Lock, error) {
		return durable.TakeExistingLock(ctx, path, lockPause)
	})
}

func lockWith(
	ctx context.Context, dir string, wait time.Duration, take func(context.Context, string) (*durable.Lock, error),
) (*durable.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	lock, err := take(ctx, filepath.Join(dir, FileName+".lock"))
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return nil, &LockedError{dir}
	case err != nil:
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	return lock, nil
}

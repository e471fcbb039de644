package roster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sallyport/sessions/fleet/cluster"
	"sallyport/verify/wire"
)

const (
	// MaxChanges is how many clients one Edit may name.
	MaxChanges = 100
	// MaxLine is how many bytes the line of a client may have: MaxChanges of them fit
	// into a request of etcd, which has at most 1.5 MiB.
	MaxLine = 8 << 10
)

// Entry is one client of the list.
type Entry struct {
	ID   wire.Identifier
	Line []byte // 1 to MaxLine bytes
}

// Change is a client that was added or changed, or, with a nil Line, removed.
type Change struct {
	ID   wire.Identifier
	Line []byte
}

// Config is what Open needs. Cluster, Key and Log are required.
type Config struct {
	Cluster *cluster.Cluster
	Key     Key
	// Dir is the state directory of the gateway, whose file FloorFile has the newest list
	// that was applied there. Follow writes the file. The other methods only read it, so
	// that no command builds on a list that went back. "": no file.
	Dir string
	// Now is the clock for the times in the list and in Stats; no rule depends on it. nil:
	// time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Roster is the list of clients in etcd. Its methods may be called by many goroutines;
// only Follow must run once at a time.
type Roster struct {
	cfg   Config
	floor *floor
	// step is called before each request that writes: tests interleave editors there.
	step func()

	mu      sync.Mutex // of the rest
	keys    Key
	stats   Stats
	again   func()               // makes Follow read the list again; nil: it does not run
	reapply bool                 // Follow calls its function next time
	logged  map[string]time.Time // when a kind of refusal was logged last
	decided decision
	changed chan struct{} // closed at the next change of stats or decided
}

// Open does not wait for etcd. Its errors are those of the configuration, and of the file
// in Dir.
func Open(cfg Config) (*Roster, error) {
	if len(cfg.Key.secrets) == 0 {
		return nil, errors.New("list of clients: a key is required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f, err := openFloor(cfg.Dir)
	if err != nil {
		return nil, err
	}
	return newRoster(cfg, f), nil
}

func newRoster(cfg Config, f *floor) *Roster {
	return &Roster{cfg: cfg, floor: f, step: func() {}, keys: cfg.Key, changed: make(chan struct{})}
}

func (r *Roster) key() Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys
}

// SetKey replaces the key, after a change of the key file. If it differs, Follow reads the
// list again.
func (r *Roster) SetKey(k Key) {
	r.mu.Lock()
	same := slices.Equal(r.keys.secrets, k.secrets)
	r.keys = k
	r.mu.Unlock()
	if !same {
		r.wake(false)
	}
}

// Again makes Follow, if it runs, read the list again, without a pause, and call its
// function also if the list is the same.
func (r *Roster) Again() { r.wake(true) }

func (r *Roster) wake(reapply bool) {
	r.mu.Lock()
	r.reapply = r.reapply || reapply
	again := r.again
	if again != nil {
		r.stats.Decided = false
	}
	r.mu.Unlock()
	if again != nil {
		again()
	}
}

// Stats is what Follow has done so far.
type Stats struct {
	Version uint64    // of the list that is in force; 0: none yet
	Clients int       // in that list
	Written time.Time // when that list was written, by the clock of its editor
	Since   time.Time // when it was applied
	Applied uint64    // how many versions were applied
	Refused uint64    // how many lists, or changes of one, were refused
	// Refusal is why the list in etcd is not in force, since RefusedAt; nil: it is, as far
	// as this gateway knows.
	Refusal   error
	RefusedAt time.Time
	// Unread is the error of etcd while the list cannot be read; nil: it was read, and is
	// followed. cluster.Health has whether etcd answers since then.
	Unread error
	// Held: a list that went back, or a fork, was seen. From then on, the gateway accepts
	// only lists that provably follow its own, until Replace or Accept.
	Held       bool
	FloorError error // of the last write of FloorFile; nil: it is on disk
	// Decided: Follow has applied or refused a list since it began, or since Again.
	Decided bool
}

// Stats returns a copy.
func (r *Roster) Stats() Stats {
	held := r.floor.get().held
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Held = held
	return s
}

// Accept makes the gateway accept the list that etcd has, although it does not follow the
// one that it has applied. It is for an operator who knows why: etcd was restored from a
// backup, for example. Follow then reads the list again. That list is the floor from now on,
// also if its entries are altered. If etcd does not answer, or the manifest does not open,
// nothing changes: no list that etcd has later is accepted for that.
func (r *Roster) Accept(ctx context.Context) error {
	s, err := r.readManifest(ctx)
	if err != nil {
		return err
	}
	if err := r.floor.set(level{Mark: s.manifest.history[0]}); err != nil {
		return err
	}
	r.wake(false)
	return nil
}

package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/state"
	"sallyport/verify"
)

// uses counts how often operations with a limit were used. A use is on stable storage
// before its command is executed: a crash between the two loses it, and never gives it
// twice. For the same reason a command that fails does not give it back. Its methods
// may be called concurrently.
type uses struct {
	write func([]state.Use) error // see state.WriteUses
	fleet fleetUses               // nil: the counts are those of this host
	// uncertain: etcd has lost a part of its record, and lose has not ended yet.
	uncertain atomic.Bool

	serial sync.Mutex // held while counts change and are written, but not while etcd is asked

	mu      sync.Mutex
	busy    map[state.UseKey]chan struct{} // counts that are being changed: see lock
	list    []state.Use
	at      map[state.UseKey]int // in list
	present []state.UseKey       // of the configuration
}

// errNoUses is the reason for which the command of an operation is not executed.
var errNoUses = errors.New("the operation has no uses left")

// loadUses reads the record of a state directory, whose lock this process has. If it is
// missing, a copy or damaged, the operations in present are unavailable from then on,
// also after later starts. It fails if a later release has written the record.
func loadUses(dir string, present []state.UseKey, log *slog.Logger) (*uses, error) {
	u := &uses{write: func(list []state.Use) error { return state.WriteUses(dir, list) }, present: present}
	list, err := state.ReadUses(dir)
	switch {
	case fatalUses(err) != nil:
		return nil, err
	case err != nil:
		list = state.AfterLoss(list, present)
		if len(list) > 0 {
			log.Error("record of uses lost; operations with a limit unavailable", "error", err)
		}
		if err := u.write(list); err != nil {
			log.Error("failed to write the record of uses", "error", err)
		}
	}
	u.set(list)
	return u, nil
}

// fatalUses returns an error of state.ReadUses if the record must not be replaced: it
// is of a later release.
func fatalUses(err error) error {
	var newer *state.NewerError
	if errors.As(err, &newer) {
		return err
	}
	return nil
}

func (u *uses) set(list []state.Use) {
	at := make(map[state.UseKey]int, len(list))
	for i, x := range list {
		at[x.UseKey] = i
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list, u.at = list, at
}

// use returns the count of an operation.
func (u *uses) use(k state.UseKey) state.Use {
	u.mu.Lock()
	defer u.mu.Unlock()
	if i, ok := u.at[k]; ok {
		return u.list[i]
	}
	return state.Use{UseKey: k}
}

// limit is how often an operation may be used; the zero value: without a limit.
type limit struct {
	key  state.UseKey
	uses int
}

func (o operation) limit() limit {
	if o.Uses == 0 {
		return limit{}
	}
	return limit{countOf(o.ID, o.Signed, o.secrets), o.Uses}
}

// limitsOf returns what the configuration limits, also what no client may use now.
func limitsOf(list []config.Operation) (keys []state.UseKey, err error) {
	for _, o := range list {
		if o.Uses == 0 {
			continue
		}
		k, err := useKeyOf(o)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// useKeyOf returns what the count of an operation belongs to.
func useKeyOf(o config.Operation) (state.UseKey, error) {
	secrets, err := fingerprintsOf(o)
	if err != nil {
		return state.UseKey{}, fmt.Errorf("operation %q: %w", o.ID, err)
	}
	return countOf(o.ID, o.Signed, secrets), nil
}

// countOf returns the key of a count. All public keys of an operation have one: it does
// not begin again when one of them changes.
func countOf(id string, signed bool, secrets []verify.Fingerprint) state.UseKey {
	if signed {
		return state.UseKey{Operation: id, Secret: signedUses}
	}
	return state.UseKey{Operation: id, Secret: secrets[0]}
}

// signedUses takes the place of the secret of operations with public keys.
const signedUses verify.Fingerprint = 1

// left returns how many uses are left; without a limit, it is at least 1.
func (u *uses) left(l limit) int {
	if l.uses == 0 {
		return 1
	}
	return u.use(l.key).LeftOf(l.uses)
}

// configure sets which operations have a limit: their counts are never removed.
func (u *uses) configure(present []state.UseKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.present = present
}

// refuses returns why a limit leaves no use; empty: it leaves some.
func (u *uses) refuses(l limit) string {
	if u.left(l) > 0 {
		return ""
	}
	return usesRefusal(u.use(l.key))
}

func usesRefusal(x state.Use) string {
	if x.Unknown {
		return fmt.Sprintf("operation %q may have been used up: the record of its uses was lost", x.Operation)
	}
	return fmt.Sprintf("operation %q has no uses left", x.Operation)
}

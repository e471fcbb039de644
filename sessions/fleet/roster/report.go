package roster

import (
	"fmt"
	"time"
)

// logPause is the time between two messages about the same kind of refusal: an attacker
// who writes to etcd must not fill the log.
const logPause = time.Minute

// refuse notes that the list of etcd is not the one in force, and why.
func (f *follower) refuse(err error) { f.refuseThat(f.value, err) }

// refuseThat is refuse for the list of a manifest that may not be that of etcd any longer.
func (f *follower) refuseThat(value []byte, err error) {
	r := f.roster
	now := r.cfg.Now()
	kind := fmt.Sprintf("%T", err)
	r.mu.Lock()
	r.stats.Refused++
	if r.stats.Refusal == nil {
		r.stats.RefusedAt = now
	}
	r.stats.Refusal = err
	last, before := r.logged[kind]
	due := !before || now.Sub(last) >= logPause
	if due {
		if r.logged == nil {
			r.logged = map[string]time.Time{}
		}
		r.logged[kind] = now
	}
	version := r.stats.Version
	r.mu.Unlock()
	if due {
		r.cfg.Log.Error("list of clients in etcd refused", "error", err, "version", version)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f.decided(value)
}

// same notes that the list in force is that of etcd.
func (f *follower) same() {
	f.roster.mu.Lock()
	defer f.roster.mu.Unlock()
	f.roster.stats.Refusal = nil
	f.decided(f.value)
}

// took notes that a list is in force.
func (f *follower) took(value []byte, m manifest) {
	r := f.roster
	now := r.cfg.Now()
	r.mu.Lock()
	r.stats.Version, r.stats.Clients, r.stats.Written, r.stats.Since = m.version(), int(m.count), m.written, now
	r.stats.Applied++
	r.stats.Refusal = nil
	f.decided(value)
	r.mu.Unlock()
	r.cfg.Log.Info("list of clients applied", "version", m.version(), "clients", m.count)
}

// unread notes whether etcd gives the list.
func (r *Roster) unread(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Unread = err
	r.announce()
}

// setFloor writes the floor. A list is applied without it too: a revocation must not wait
// for a disk that is full. Until the file is written, a restart knows an older version.
func (r *Roster) setFloor(l level) {
	err := r.floor.set(l)
	r.mu.Lock()
	was := r.stats.FloorError
	r.stats.FloorError = err
	r.mu.Unlock()
	if err != nil && was == nil {
		r.cfg.Log.Error("version of the list of clients not written", "error", err)
	}
}

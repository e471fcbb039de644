package roster

import (
	"bytes"
	"maps"

	"sallyport/verify/wire"
)

// job is an apply of the changes of one list.
type job struct {
	value   []byte // the manifest of the list
	m       manifest
	changes []Change
	// values are the entries that it applies, as in follower.pending.
	values map[wire.Identifier][]byte
	ended  chan struct{}
}

// begin starts a job. The floor is on disk before.
func (f *follower) begin(m manifest, next level, changes []Change) {
	f.roster.setFloor(next)
	f.fresh = map[wire.Identifier]bool{}
	f.job = &job{f.value, m, changes, maps.Clone(f.pending), make(chan struct{})}
	go f.run(f.job)
}

// run runs a job. After it, the newest list is decided about, if there is a newer one.
func (f *follower) run(j *job) {
	defer close(j.ended)
	err := f.apply(j.m.history[0], false, j.changes)
	wipe(j.changes)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.job = nil
	if err == nil {
		f.settle(j.values)
	}
	f.finish(j.value, j.m, err)
	late := f.late
	if f.late = false; late && !f.stopped {
		f.touched = true
		f.decide()
	}
}

// settle removes entries from pending that were applied and have not changed since.
func (f *follower) settle(applied map[wire.Identifier][]byte) {
	for id, value := range applied {
		now, differs := f.pending[id]
		if differs && (now == nil) == (value == nil) && bytes.Equal(now, value) {
			f.size -= len(now)
			delete(f.pending, id)
		}
	}
}

// await waits until no job runs.
func (f *follower) await() {
	for {
		f.mu.Lock()
		j := f.job
		f.mu.Unlock()
		if j == nil {
			return
		}
		<-j.ended
	}
}

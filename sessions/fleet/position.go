package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"sallyport/sessions/durable"
	"sallyport/sessions/fleet/cluster"
)

// PositionFile is the name of the file with the position in etcd, in the state directory.
const PositionFile = "fleet"

// position is what the gateway remembers over a restart: how far it has seen the history
// of etcd, and up to which stamp the record lost nonces.
type position struct {
	path string
	gaps atomic.Uint64
	// unsaved: a gap is not on disk.
	unsaved atomic.Bool

	mu        sync.Mutex
	known     cluster.Position
	lostUntil int64
	changed   bool // since the file was written: lostUntil, or known by a gap
}

const positionFormat = "sallyport fleet 1\ncluster %016x\nrevision %d\nlost_until %d\n"

// readPosition reads the file. Without one, the gateway has not been in a fleet.
func readPosition(dir string) (*position, error) {
	p := &position{path: filepath.Join(dir, PositionFile)}
	content, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the position in etcd: %w", err)
	}
	_, err = fmt.Sscanf(string(content), positionFormat, &p.known.Cluster, &p.known.Revision, &p.lostUntil)
	if err != nil || p.text() != string(content) {
		return nil, &PositionError{p.path}
	}
	return p, nil
}

// PositionError is the error of a damaged file.
type PositionError struct{ Path string }

func (e *PositionError) Error() string {
	return fmt.Sprintf("the position in etcd, %s, is damaged", e.Path)
}

// Hint returns a remedy.
func (e *PositionError) Hint() string {
	return "remove the file, wait for two minutes, and start the server: " +
		"a gap in etcd's record before that cannot be seen"
}

func (p *position) text() string {
	return fmt.Sprintf(positionFormat, p.known.Cluster, p.known.Revision, p.lostUntil)
}

// save writes a position, if it or the limit has changed, or a gap is not on disk.
func (p *position) save(now cluster.Position) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if (now == p.known || now.Cluster == 0) && !p.changed {
		return nil
	}
	if now.Cluster != 0 {
		p.known = now
	}
	return p.write()
}

// raise sets a later limit, which the next save writes.
func (p *position) raise(until int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until > p.lostUntil {
		p.lostUntil, p.changed = until, true
	}
}

// lost counts a gap, and writes up to which stamp knocks are refused. Gaps may come at the
// same time, so the latest limit counts.
func (p *position) lost(now cluster.Position, until int64) error {
	p.unsaved.Store(true) // before others see the gap
	p.gaps.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unsaved.Store(true) // the write of another gap has ended
	p.known, p.lostUntil, p.changed = now, max(p.lostUntil, until), true
	return p.write()
}

// retry writes a gap that could not be written, so that knocks are accepted when the disk
// has room again.
func (p *position) retry() {
	if !p.unsaved.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed {
		p.write() // lost and save log the error
	}
}

// write writes the file. It is on disk before an answer from after a gap is used.
func (p *position) write() error {
	if err := durable.WriteFile(p.path, []byte(p.text()), 0o600); err != nil {
		p.changed = true
		return err
	}
	p.changed = false
	p.unsaved.Store(false)
	return nil
}

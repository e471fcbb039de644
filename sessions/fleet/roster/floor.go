package roster

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"sallyport/sessions/durable"
)

// FloorFile is the name of the file with the newest list that was applied, in the state
// directory.
const FloorFile = "fleet-clients"

const floorFormat = "sallyport clients 1\nversion %d\ntag %x\nheld %t\n"

// floor is below which no list is applied: the mark of the newest one that was. It
// outlives the process.
type floor struct {
	path string // "": none

	mu    sync.Mutex
	level level
	dirty bool // the file is older
}

// level is the content of the file. Zero: no list has been applied.
type level struct {
	Mark
	// held: a list that went back was seen, since an operator last wrote or accepted the
	// whole list. Versions that an editor builds on such a list are above the floor in
	// the end.
	held bool
}

// FloorError is the error of a damaged file.
type FloorError struct{ Path string }

func (e *FloorError) Error() string {
	return fmt.Sprintf("the version of the list of clients, %s, is damaged", e.Path)
}

// Hint returns a remedy.
func (e *FloorError) Hint() string {
	return "compare the list in etcd with the clients that you expect; then remove the file: this gateway accepts the list that it finds next"
}

func openFloor(dir string) (*floor, error) {
	f := &floor{}
	if dir == "" {
		return f, nil
	}
	f.path = filepath.Join(dir, FloorFile)
	var err error
	f.level, err = readLevel(f.path)
	return f, err
}

func readLevel(path string) (l level, err error) {
	text, err := durable.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("read the version of the list of clients: %w", err)
	}
	var tag []byte
	_, err = fmt.Sscanf(string(text), floorFormat, &l.Version, &tag, &l.held)
	if err != nil || len(tag) != len(l.Tag) {
		return level{}, &FloorError{path}
	}
	l.Tag = [8]byte(tag)
	if l.text() != string(text) {
		return level{}, &FloorError{path}
	}
	return l, nil
}

func (l level) text() string { return fmt.Sprintf(floorFormat, l.Version, l.Tag[:], l.held) }

// judge decides about a list. It returns the level after a refusal or an application.
func (l level) judge(m manifest) (level, error) {
	above := level{Mark: m.history[0]}
	oldest := m.history[len(m.history)-1].Version
	switch {
	case l.Version == 0, m.whole > l.Version:
		return above, nil
	case m.follows(l.Mark):
		above.held = l.held // the other list may come back, with higher versions
		return above, nil
	case oldest > l.Version && !l.held:
		// The list is more than maxHistory versions ahead: this gateway was away.
		return above, nil
	case oldest > l.Version:
		return l, &NotNewerError{m.version(), l.Version}
	}
	l.held = true
	return l, &NotNewerError{m.version(), l.Version}
}

func (f *floor) get() level {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.level
}

// set replaces the level, and writes it if the file does not have it. After an error, the
// level holds until the process ends, and the next set tries again.
func (f *floor) set(l level) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == "" || l == f.level && !f.dirty {
		f.level = l
		return nil
	}
	f.level, f.dirty = l, true
	if err := durable.WriteFile(f.path, []byte(l.text()), 0o600); err != nil {
		return fmt.Errorf("write the version of the list of clients: %w", err)
	}
	f.dirty = false
	return nil
}

// check judges a list for a command, by the newest level of the gateway, and changes
// nothing.
func (f *floor) check(m manifest) (level, error) {
	l := f.get()
	if f.path != "" {
		var err error
		if l, err = readLevel(f.path); err != nil {
			return l, err
		}
	}
	_, err := l.judge(m)
	return l, err
}

// Forget removes the file of a gateway that does not run: it accepts the list that it
// finds next.
func Forget(dir string) error {
	err := durable.Remove(filepath.Join(dir, FloorFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

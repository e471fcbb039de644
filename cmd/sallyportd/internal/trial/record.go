package trial

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/durable"
)

// Stealth stands for stealth in a Record. No service has this name.
const Stealth = "*stealth"

// Record has the ports of services that are, or were, on trial, and Stealth: see Subject.
// The first version of the file has the names of services instead.
type Record map[string]Entry

// Entry is what the record has of a service.
type Entry struct {
	State State `json:"state"`
	// Boot is the kernel's start in which a trial runs, or has ended; empty: it is over.
	Boot string `json:"boot,omitempty"`
	// Ends is when the trial is over, by CLOCK_MONOTONIC, as the kernel's element.
	Ends time.Duration `json:"ends_ns,omitempty"`
	// Stopped: the server was stopped in order since, so another trial may begin.
	Stopped bool `json:"stopped,omitempty"`
}

// State is the state of a service.
type State string

// The states.
const (
	OnTrial   State = "trial"     // not confirmed
	Confirmed State = "confirmed" // never on trial again
)

// version is the version of the file. The first one is read, too. A later release may write
// another one.
const version = 2

// file is the content of the file.
type file struct {
	Version  int    `json:"version"`
	Services Record `json:"services"`
}

// maxFile bounds what is read of the file, in bytes.
const maxFile = 64 << 10

// PathIn returns the path of the record in a state directory.
func PathIn(dir string) string { return filepath.Join(dir, "trial.json") }

// Read reads the record of a state directory. If there is none, the record is empty.
func Read(dir string) (Record, error) {
	path := PathIn(dir)
	f, err := durable.OpenRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var text []byte
	if err == nil {
		defer f.Close()
		text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	}
	var r Record
	if err == nil {
		r, err = parse(text)
	}
	if err != nil {
		err = fmt.Errorf("read the record of trials %s: %w", path, err)
		return nil, hint.With(err, "nothing is on trial: everything that is hidden is closed; \"--trial 0\" replaces the record, or remove the file")
	}
	return r, nil
}

func parse(text []byte) (Record, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("expected at most %d bytes, got more", maxFile)
	}
	var of struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &of); err != nil {
		return nil, fmt.Errorf("expected JSON: %w", err)
	}
	if of.Version > version {
		return nil, fmt.Errorf("expected version 1 to %d, got %d, which requires a newer sallyportd", version, of.Version)
	}
	if of.Version < 1 {
		return nil, fmt.Errorf("expected version 1 to %d, got %d", version, of.Version)
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("expected services and their states: %w", err)
	}
	for name, e := range f.Services {
		trial := e.State == OnTrial && (e.Boot != "") == (e.Ends > 0) && e.Ends >= 0
		if !trial && e != (Entry{State: Confirmed}) {
			return nil, fmt.Errorf("service %s: expected a trial with its end, or %q, got %+v", name, Confirmed, e)
		}
	}
	return f.Services, nil
}

// Write replaces the record. When it returns nil, the record is on stable storage.
func (r Record) Write(dir string) error {
	text, err := json.MarshalIndent(file{version, r}, "", "\t")
	if err == nil {
		err = durable.WriteFile(PathIn(dir), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the record of trials: %w", err)
	}
	return nil
}

// Confirm records that services are never on trial again, also if the record was lost
// since their trial began. A record that cannot be read is replaced: over are the services
// whose trial is over, and that the new one must have, too. Others are closed.
func Confirm(dir string, confirmed, over []Subject) error {
	return Update(dir, func(r Record, err error) (Record, error) {
		if r == nil {
			r = Record{}
		}
		if err != nil {
			for _, s := range over {
				r.set(s, Entry{State: OnTrial})
			}
		}
		for _, s := range confirmed {
			r.set(s, Entry{State: Confirmed})
		}
		return r, nil
	})
}

// TakeBack returns the record without a change from earlier to made. A later change by
// another process stays: a confirmation is for good.
func (r Record) TakeBack(made, earlier Record) Record {
	next := Record{}
	for name, e := range r {
		if was, known := earlier[name]; e != made[name] {
			next[name] = e
		} else if known {
			next[name] = was
		}
	}
	for name, e := range earlier { // that the change has removed
		if _, kept := made[name]; !kept && next[name] == (Entry{}) {
			next[name] = e
		}
	}
	return next
}

// Stop records that a server has stopped in order: another trial may begin of what is not
// confirmed. Until then the trial keeps its end, as the kernel's element does.
func Stop(dir string) error {
	return change(dir, func(r Record) {
		for name, e := range r {
			if e.State == OnTrial {
				e.Stopped = true
				r[name] = e
			}
		}
	})
}

// change changes the record, and writes it if it differs.
func change(dir string, f func(Record)) error {
	return Update(dir, func(r Record, err error) (Record, error) {
		if r == nil {
			r = Record{}
		}
		if err == nil {
			f(r)
		}
		return r, err
	})
}

// Update replaces the record by what next returns, if that differs. Next gets a copy, or
// the error of Read. No other process changes the record meanwhile.
func Update(dir string, next func(Record, error) (Record, error)) error {
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	r, unreadable := Read(dir)
	changed, err := next(maps.Clone(r), unreadable)
	if err != nil || unreadable == nil && maps.Equal(r, changed) {
		return err
	}
	return changed.Write(dir)
}

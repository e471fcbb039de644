package fleetlist

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/durable"
	"sallyport/sessions/fleet/roster"
)

// header is the first line of the copy.
const header = "# The list of clients of the fleet, version %d %x; sallyportd writes this file\n"

// text is the content of the copy.
type text struct {
	mark roster.Mark
	all  []byte // with the header
}

// digest identifies the lines, without the header. Zero: unknown.
type digest [sha256.Size]byte

func (t text) sum() digest {
	_, lines, _ := bytes.Cut(t.all, []byte("\n"))
	return sha256.Sum256(lines)
}

// Copy is the copy of the list on this host. Its methods may be called by many goroutines.
type Copy struct {
	path  string
	rules secretfile.Rules

	mu    sync.Mutex
	state clients.State // of the file with the newest text; zero: there is none
	newer *text         // than the file, which could not be written; nil: the file has it
	// fault is why the newest list of etcd is neither in the file nor in newer: this release
	// cannot parse it.
	fault error
	// sum is that of the newest text, loaded that of the text that Load has returned last, and
	// applied that of the list in force.
	sum, loaded, applied digest
	mark                 roster.Mark // of the file
	version              uint64      // of the text that Load has returned last
	failing              bool        // the last attempt to write the file failed
}

// NewCopy returns the copy of a configuration. It does not read the file.
func NewCopy(cfg *config.Config) *Copy {
	return &Copy{path: cfg.ClientsPath, rules: cfg.SecretFiles}
}

// ChangedError is the error of a copy that another program has changed.
type ChangedError struct{ Path string }

func (e *ChangedError) Error() string {
	return e.Path + ": another program has changed or removed the copy of the list of clients"
}

// Hint returns a remedy.
func (e *ChangedError) Hint() string {
	return "change the list itself (sallyportd client); the server writes its copy again as soon as it has read the list"
}

// Load returns the clients of the newest list of etcd that this server has seen, for a
// reload: of the copy, or of the text that could not be written. The caller calls Applied
// when they are in force.
func (c *Copy) Load(cfg *config.Config) (l clients.Loaded, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := cfg.ServiceNames()
	c.loaded, c.version = c.sum, c.mark.Version
	if c.newer != nil {
		c.version = c.newer.mark.Version
	}
	switch {
	case c.fault != nil:
		return l, c.fault
	case c.newer != nil:
		l = clients.Loaded{State: c.state, Whole: true}
		l.List, err = clients.ReadText(c.path, c.newer.all, known)
		return l, err
	case clients.StateOf(c.path) != c.state:
		return l, &ChangedError{c.path}
	case c.state == clients.State{}: // etcd has no list yet
		return clients.Loaded{Whole: true}, nil
	}
	l, err = clients.Read(c.path, cfg.SecretFiles, known)
	if err == nil && l.State != c.state {
		err = &ChangedError{c.path}
	}
	return l, err
}

// Loaded returns the version of the list of the last Load, also of Change.
func (c *Copy) Loaded() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// Applied notes that the clients of the last Load, also of Change, are in force.
func (c *Copy) Applied() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied = c.loaded
}

// holds reports whether a list is in force already. If the file has another one, or another
// mark, holds writes it.
func (c *Copy) holds(t text, log *slog.Logger) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := t.sum()
	if sum != c.applied || sum != c.sum {
		return false
	}
	if c.newer != nil || c.mark != t.mark || clients.StateOf(c.path) != c.state {
		c.newer = &t
		c.flush(log)
	}
	return true
}

// take makes a text the newest one, and tries to write it. The caller has checked it.
func (c *Copy) take(t text, log *slog.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault, c.newer, c.sum = nil, &t, t.sum()
	c.loaded, c.version = c.sum, t.mark.Version
	c.flush(log)
}

// refuse notes that the newest list cannot be parsed.
func (c *Copy) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = err
}

// begin notes that a list will be applied: until then, it is unknown which one is in force.
func (c *Copy) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied = digest{}
}

// retry writes a text that could not be written.
func (c *Copy) retry(log *slog.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush(log)
}

// flush writes the newest text, if the file does not have it. The caller holds the lock.
func (c *Copy) flush(log *slog.Logger) {
	if c.newer == nil {
		return
	}
	state, err := c.write(*c.newer)
	switch {
	case err != nil && !c.failing:
		log.Error("copy of the list of clients not written; retrying", "error", err)
	case err == nil && c.failing:
		log.Info("copy of the list of clients written again")
	}
	if c.failing = err != nil; c.failing {
		return
	}
	c.state, c.mark = state, c.newer.mark
	clear(c.newer.all)
	c.newer = nil
}

// base returns the newest text, for a change of it.
func (c *Copy) base() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newer != nil {
		return bytes.Clone(c.newer.all), nil
	}
	t, state, err := c.read()
	if err == nil && (state != c.state || c.sum != t.sum()) {
		err = &ChangedError{c.path}
	}
	return t.all, err
}

// parseHeader returns which list a copy is.
func parseHeader(line []byte) (m roster.Mark, ok bool) {
	var tag []byte
	_, err := fmt.Sscanf(string(line), header, &m.Version, &tag)
	if err != nil || len(tag) != len(m.Tag) {
		return m, false
	}
	m.Tag = [8]byte(tag)
	return m, string(line) == headerOf(m)
}

func headerOf(m roster.Mark) string { return fmt.Sprintf(header, m.Version, m.Tag[:]) }

// lines returns the lines of the file, if it is the list of a mark.
func (c *Copy) lines(of roster.Mark) ([]clients.Line, bool) {
	f, err := c.rules.Open(c.path)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	r := bufio.NewReader(f)
	first, err := r.ReadSlice('\n')
	if m, ok := parseHeader(first); err != nil || !ok || m != of {
		return nil, false
	}
	lines, err := clients.Parse(c.path, r)
	return lines, err == nil
}

// read reads the file.
func (c *Copy) read() (t text, state clients.State, err error) {
	state = clients.StateOf(c.path)
	f, err := c.rules.Open(c.path)
	if err != nil {
		return t, state, err
	}
	defer f.Close()
	if t.all, err = io.ReadAll(f); err != nil {
		return t, state, fmt.Errorf("%s: %w", c.path, err)
	}
	first, _, _ := bytes.Cut(t.all, []byte("\n"))
	t.mark, _ = parseHeader(append(first[:len(first):len(first)], '\n'))
	return t, state, nil
}

// write writes the file.
func (c *Copy) write(t text) (clients.State, error) {
	if err := durable.WriteFile(c.path, t.all, 0o600); err != nil {
		return clients.State{}, fmt.Errorf("write the copy of the list of clients: %w", err)
	}
	return clients.StateOf(c.path), nil
}

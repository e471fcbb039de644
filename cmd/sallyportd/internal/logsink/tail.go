package logsink

import (
	"bytes"
	"sync"
)

const (
	// tailLines is how many lines a Tail keeps, and tailLine how many bytes of each.
	tailLines = 200
	tailLine  = 4 << 10
)

// Tail keeps the last lines of a log, as text, also those that the log's reader did not
// take. The zero value is empty, and ready. It may be used concurrently.
type Tail struct {
	mu    sync.Mutex
	lines [tailLines]string
	next  int
}

// Lines returns the lines, the oldest one first, without line feeds: at most 200, each of
// at most 4 KiB. They name clients and addresses, and have no secret.
func (t *Tail) Lines() (all []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.lines {
		if line := t.lines[(t.next+i)%tailLines]; line != "" {
			all = append(all, line)
		}
	}
	return all
}

// add adds a line; nil: there is no tail.
func (t *Tail) add(text []byte) {
	if t == nil {
		return
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	line := string(text[:min(len(text), tailLine)])
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines[t.next] = line
	t.next = (t.next + 1) % tailLines
}

package daemon

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// eventsFile lists the events of the log.
const eventsFile = "cmd/sallyportd/EVENTS.md"

// eventCalls are the calls that log one event.
type eventCalls struct {
	levels, keys map[string]bool
}

// eventOf returns the calls of an event. Those of other programs are not kept.
func (c *logCheck) eventOf(message string) *eventCalls {
	e := c.events[message]
	if e == nil {
		e = &eventCalls{map[string]bool{}, map[string]bool{}}
	}
	if c.ofServer() {
		c.events[message] = e
	}
	return e
}

// ofServer reports whether the file is one of the server's program.
func (c *logCheck) ofServer() bool {
	for _, other := range []string{"bench/", "cmd/sallyport/", "cmd/floodbench/"} {
		if strings.HasPrefix(c.name, other) {
			return false
		}
	}
	return true
}

// level notes the level of a call.
func (e *eventCalls) level(n *ast.CallExpr) {
	if s, ok := n.Fun.(*ast.SelectorExpr); ok {
		switch level := strings.TrimSuffix(s.Sel.Name, "Context"); level {
		case "Debug", "Info", "Warn", "Error":
			e.levels[strings.ToUpper(level)] = true
			return
		}
	}
	e.levels[""] = true // a variable
}

// eventKey notes a key of the call that is checked.
func (c *logCheck) eventKey(x ast.Expr) {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return
	}
	key, _ := strconv.Unquote(lit.Value)
	if c.event != nil {
		c.event.keys[key] = true
	}
	if c.isWith && c.ofServer() {
		c.with[key] = true
	}
}

// documentedEvent is a row of the list.
type documentedEvent struct {
	levels string
	keys   []string
}

var eventRow = regexp.MustCompile("^\\| `([^`]+)` \\| ([A-Z, ]+) \\| (.*) \\|$")

func documentedEvents(t *testing.T, root string) map[string]documentedEvent {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(eventsFile)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]documentedEvent{}
	last := ""
	for line := range strings.Lines(string(text)) {
		m := eventRow.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		if m[1] <= last {
			t.Errorf("%s: %q is there twice, or after %q", eventsFile, m[1], last)
		}
		last = m[1]
		e := documentedEvent{levels: m[2]}
		for _, key := range regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch(m[3], -1) {
			e.keys = append(e.keys, key[1])
		}
		all[m[1]] = e
	}
	return all
}

// keysOfRecords are the keys of events that package loglimit makes as records.
var keysOfRecords = map[string][]string{
	"log lines left out": {"message", "kinds"},
	"log lines dropped":  {"lines"},
}

// TestEventsAreDocumented: each event of the server's program is in the list, with its level
// and the keys that its calls have, and the list has no other event and no other key. Keys
// that a logger adds (With) may be in each row.
func TestEventsAreDocumented(t *testing.T) {
	root := moduleRoot(t)
	c := checkTree(t, root)
	list := documentedEvents(t, root)
	for _, message := range slices.Sorted(maps.Keys(c.events)) {
		e, in := c.events[message], list[message]
		if in.levels == "" {
			t.Errorf("%s lacks: %s", eventsFile, e.row(message))
			continue
		}
		for key := range e.keys {
			if !slices.Contains(in.keys, key) {
				t.Errorf("%s: %q lacks the key %q", eventsFile, message, key)
			}
		}
		for _, key := range in.keys {
			if !e.keys[key] && !c.with[key] && key != "left_out" && !slices.Contains(keysOfRecords[message], key) {
				t.Errorf("%s: no call of %q has the key %q", eventsFile, message, key)
			}
		}
		for level := range e.levels {
			if level != "" && !strings.Contains(in.levels, level) {
				t.Errorf("%s: %q has the level %s", eventsFile, message, level)
			}
		}
	}
	for message := range list {
		if c.events[message] == nil {
			t.Errorf("%s has %q, which no call logs", eventsFile, message)
		}
	}
	if len(c.events) < 150 {
		t.Errorf("only %d events found", len(c.events))
	}
}

// row returns the row of the list for an event.
func (e *eventCalls) row(message string) string {
	levels := strings.Join(slices.Sorted(maps.Keys(e.levels)), ", ")
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(e.keys)) {
		keys = append(keys, "`"+key+"`")
	}
	return fmt.Sprintf("| `%s` | %s | %s |", message, levels, strings.Join(keys, ", "))
}

// TestEventsOnlyGrow: an event of a release is in all later ones, with its keys. The list of a
// release is a copy of the table.
func TestEventsOnlyGrow(t *testing.T) {
	root := moduleRoot(t)
	now := documentedEvents(t, root)
	lists, err := filepath.Glob("testdata/events-*.txt")
	if err != nil || len(lists) == 0 {
		t.Fatalf("no list of a release: %v", err)
	}
	for _, name := range lists {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			message, keys, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " | ")
			e, ok := now[message]
			if !ok {
				t.Errorf("%s has the event %q, which is gone", name, message)
			}
			for _, key := range strings.Fields(keys) {
				if !slices.Contains(e.keys, key) {
					t.Errorf("%s: the event %q had the key %q", name, message, key)
				}
			}
		}
	}
}

// checkTree checks all files of the repository.
func checkTree(t *testing.T, root string) *logCheck {
	t.Helper()
	c := newLogCheck(logExceptions)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "testdata" || strings.HasPrefix(name, ".") && path != root):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if logMachinery[filepath.ToSlash(rel)] {
			return nil
		}
		return c.file(filepath.ToSlash(rel), text)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

package fleetlist

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify/wire"
)

// TestList: the list in etcd behaves as a clients file. The subtests share one etcd.
func TestList(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	for name, test := range map[string]func(*testing.T, *etcdtest.Cluster){
		"edits": testEdits, "many": testMany, "entries": testEntries, "follow": testFollow, "start": testStart, "copy": testCopy, "full": testFull,
	} {
		t.Run(name, func(t *testing.T) { test(t, e) })
	}
}

// testEdits: a change gets the lines of its clients, and only these; a line that it leaves
// out is removed. Comments are dropped, notes stay.
func testEdits(t *testing.T, e *etcdtest.Cluster) {
	cfg := configured(t, e)
	l := open(t, cfg)
	if _, _, err := l.Read(t.Context()); !errors.Is(err, roster.ErrNone) {
		t.Errorf("without a list: %v", err)
	}
	l.imports(t, "# the clients\n\n com2\ttwo 7  services=web \n#com9 x 0\ncom1 one 0 note=Eve's laptop\n")
	l.has(t, "imported", "com1 one 0 note=Eve's laptop\ncom2\ttwo 7  services=web\n")
	err := l.Edit(t.Context(), []wire.Identifier{id("com2"), id("com3"), id("com1")}, func(lines []clients.Line) ([]clients.Line, error) {
		if len(lines) != 2 || lines[0].Client.Identifier != id("com2") || lines[1].Client.Identifier != id("com1") {
			t.Errorf("a change got %v", written(lines))
		}
		lines[0].Client.Allow(nil)
		c := clients.Client{Identifier: id("com3"), Secret: []byte("three"), Services: "web"}
		return append(lines[:1], clients.Line{Client: &c}, clients.Line{Text: "# new"}), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l.has(t, "changed", "com2 two 7\ncom3 three 0 services=web\n")
	wrong := errors.New("wrong")
	for what, change := range map[string]func([]clients.Line) ([]clients.Line, error){
		"an error": func([]clients.Line) ([]clients.Line, error) { return nil, wrong },
		"another client": func(lines []clients.Line) ([]clients.Line, error) {
			lines[0].Client.Identifier = id("com4")
			return lines, nil
		},
		"a client twice": func(lines []clients.Line) ([]clients.Line, error) { return append(lines, lines...), nil },
		"two lines": func(lines []clients.Line) ([]clients.Line, error) {
			lines[0].Client.Note = "x\ncom5 five 0"
			return lines, nil
		},
		"no secret": func(lines []clients.Line) ([]clients.Line, error) {
			lines[0].Client.Secret = nil
			return lines, nil
		},
	} {
		err := l.Edit(t.Context(), []wire.Identifier{id("com2")}, change)
		if err == nil || strings.Contains(err.Error(), "two") || what == "an error" && !errors.Is(err, wrong) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for client, want := range map[string]bool{"com2": true, "com9": false} {
		if found, err := l.Remove(t.Context(), id(client)); found != want || err != nil {
			t.Errorf("removed %s: %v, %v", client, found, err)
		}
	}
	l.has(t, "after refused changes", "com3 three 0 services=web\n")
	for what, text := range map[string]string{"twice": "com1 a 0\ncom1 b 0\n", "a control character": "com1\va 0\n"} {
		lines, _ := clients.Parse("x", strings.NewReader(strings.SplitAfter(text, "\n")[0]))
		if what == "twice" {
			lines = append(lines, lines...)
		}
		if err := l.Import(t.Context(), lines); err == nil && len(lines) > 0 {
			t.Errorf("%s: imported", what)
		}
	}
}

// testMany: a change of more clients than a transaction has is one version, and begins again
// if another command was faster.
func testMany(t *testing.T, e *etcdtest.Cluster) {
	l := open(t, configured(t, e))
	var text strings.Builder
	for i := range 250 {
		fmt.Fprintf(&text, "c%03d secret%d 0\n", i, i)
	}
	l.imports(t, text.String())
	calls := 0
	err := l.EditAll(t.Context(), func(lines []clients.Line) ([]clients.Line, error) {
		if calls++; calls == 1 {
			l.add(t, "com1 one 0")
		}
		for i := range lines {
			lines[i].Client.Note = "changed"
		}
		return lines, nil
	})
	lines, _, readErr := l.Read(t.Context())
	if err != nil || readErr != nil || calls != 2 || len(lines) != 251 {
		t.Fatalf("%d calls, %d lines, %v, %v", calls, len(lines), err, readErr)
	}
	for _, line := range lines {
		if line.Client.Note != "changed" {
			t.Fatalf("not changed: %s", line.Client.Identifier)
		}
	}
}

// testEntries: an entry that is not one line with its own identifier is an error that
// names the client and no secret; Remove removes it nevertheless.
func testEntries(t *testing.T, e *etcdtest.Cluster) {
	l := open(t, configured(t, e))
	for what, line := range map[string]string{
		"another identifier": "com2 hunter2 0", "two lines": "com1 hunter2 0\ncom2 hunter2 0", "a comment": "# hunter2", "a space before": " com1 hunter2 0",
		"a carriage return": "com1 hunter2 0\r", "an unknown column": "com1 hunter2 0 hunter=2", "a longer identifier": "com12 hunter2 0",
	} {
		err := l.Roster().Replace(t.Context(), func(yield func(roster.Entry) bool) { yield(roster.Entry{ID: id("com1"), Line: []byte(line)}) })
		if err != nil {
			t.Fatal(err)
		}
		wrong, ok := errors.AsType[*EntryError](func() error { _, _, err := l.Read(t.Context()); return err }())
		if !ok || wrong.Client != id("com1") || strings.Contains(wrong.Error(), "hunter2") {
			t.Errorf("%s: %v", what, wrong)
		}
		err = l.Edit(t.Context(), []wire.Identifier{id("com1")}, func(lines []clients.Line) ([]clients.Line, error) { return lines, nil })
		if _, ok := errors.AsType[*EntryError](err); !ok {
			t.Errorf("%s: edited: %v", what, err)
		}
		if found, err := l.Remove(t.Context(), id("com1")); !found || err != nil {
			t.Errorf("%s: removed: %v, %v", what, found, err)
		}
	}
}

// testCopy: Read uses the copy only if it is the list in etcd.
func testCopy(t *testing.T, e *etcdtest.Cluster) {
	cfg := configured(t, e)
	l := open(t, cfg)
	l.imports(t, "com1 one 0\n")
	if _, _, err := Start(t.Context(), cfg, time.Now, l.log); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(cfg.ClientsPath)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	text, err := os.ReadFile(cfg.ClientsPath)
	if err != nil {
		t.Fatal(err)
	}
	replaced := strings.Replace(string(text), "com1 one", "com1 copied", 1)
	if err := os.WriteFile(cfg.ClientsPath, []byte(replaced), 0o600); err != nil {
		t.Fatal(err)
	}
	l.has(t, "of the copy", "com1 copied 0\n")
	for what, text := range map[string]string{
		"another tag": strings.Replace(replaced, "; sallyportd", "0; sallyportd", 1), "no header": "com1 copied 0\n", "unreadable": strings.SplitAfter(replaced, "\n")[0] + "x\n",
		"empty": "",
	} {
		if err := os.WriteFile(cfg.ClientsPath, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l.has(t, what, "com1 one 0\n")
	}
	if err := os.WriteFile(cfg.ClientsPath, []byte(replaced), 0o600); err != nil {
		t.Fatal(err)
	}
	l.add(t, "com2 two 0")
	l.has(t, "an older copy", "com1 one 0\ncom2 two 0\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := l.Read(ctx); err == nil {
		t.Error("read without etcd")
	}
}

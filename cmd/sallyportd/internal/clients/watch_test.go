package clients

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/cmd/internal/secretfile"
)

// TestWatch: a file is read when it remained unchanged for settleTime, and again
// after each LookTime while that fails.
func TestWatch(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	old, half, next := State{size: 1}, State{size: 2}, State{size: 3}
	var w Watch
	for i, step := range []struct {
		at      time.Duration
		file    State
		applied State
		read    bool
		wait    time.Duration
		fails   bool
	}{
		{at: 0, file: old, applied: old, wait: LookTime},
		{at: time.Second, file: half, applied: old, wait: settleTime},
		{at: time.Second + 150*time.Millisecond, file: half, applied: old, wait: 50 * time.Millisecond},
		{at: time.Second + 150*time.Millisecond, file: next, applied: old, wait: settleTime}, // it changes again
		{at: time.Second + 350*time.Millisecond, file: next, applied: old, read: true, fails: true},
		{at: time.Second + 360*time.Millisecond, file: next, applied: old, wait: LookTime - 10*time.Millisecond},
		{at: time.Second + 350*time.Millisecond + LookTime, file: next, applied: old, read: true, fails: true},
		{at: time.Second + 350*time.Millisecond + 2*LookTime, file: next, applied: old, read: true},
		{at: 6 * time.Second, file: next, applied: next, wait: LookTime},
	} {
		read, wait := w.Look(at(step.at), step.file, step.applied)
		if read != step.read || wait != step.wait {
			t.Errorf("step %d: read %v, wait %s", i, read, wait)
		}
		if step.fails {
			w.Failed(at(step.at))
		}
	}
	if since := w.Since(); !since.Equal(at(time.Second + 150*time.Millisecond)) {
		t.Errorf("unchanged since %s", since.Sub(start))
	}
}

// TestStateOf: the state contains all that decides whether a file can be read.
func TestStateOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients.txt")
	if StateOf(path) != (State{}) {
		t.Error("the state of a missing file is not zero")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	was := StateOf(path)
	if err := os.Chtimes(path, time.Time{}, was.modified); err != nil { // only the ctime
		t.Fatal(err)
	}
	now := StateOf(path)
	if now == was || now.modified != was.modified || now.uid != uint32(os.Getuid()) || now.gid != uint32(os.Getgid()) {
		t.Errorf("%+v, and then %+v", was, now)
	}
}

// TestUnfinishedFile: a file without a newline at its end may be incomplete.
func TestUnfinishedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients.txt")
	for text, whole := range map[string]bool{
		"": true, "\n": true, "com1 s 0\n": true, "com1 s 0 services=web\ncom2 s 0": false, "# x": false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Read(path, secretfile.Rules{}, nil)
		if err != nil || l.Whole != whole || l.State != StateOf(path) {
			t.Errorf("%q: whole %v, %v", text, l.Whole, err)
		}
		err = Edit(t.Context(), path, func(lines []Line) ([]Line, error) { return lines, nil })
		if (err == nil) != whole {
			t.Errorf("%q: edited: %v", text, err)
		}
	}
}

// TestRemove: Remove removes a client's line and nothing else, even if this line or
// others are invalid.
func TestRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients.txt")
	for text, want := range map[string]string{
		"com1 s 0\ncom2 s 0\n":                      "com2 s 0\n",
		"# com1\n\ncom2 s\n\t com1 s 0 x=y\r\n?? ?": "# com1\n\ncom2 s\n?? ?",
		"com2 s 0\ncom1":                            "com2 s 0\n",
		"com1 s 0\ncom1 t 0\n":                      "",
		"com12 s 0\n":                               "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		found, err := Remove(t.Context(), path, [4]byte([]byte("com1")))
		got, readErr := os.ReadFile(path)
		if err != nil || readErr != nil {
			t.Fatal(err, readErr)
		}
		if text == "com12 s 0\n" {
			want = text
		}
		if string(got) != want || found != (text != want) {
			t.Errorf("%q became %q, found %v", text, got, found)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

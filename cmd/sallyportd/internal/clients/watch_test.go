package clients

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWatch: a file is read when it has been left alone, and once more at each
// look while that fails.
func TestWatch(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	old, half, next := State{size: 1}, State{size: 2}, State{size: 3}
	var w Watch
	for i, step := range []struct {
		at       time.Duration
		file     State
		inForce  State
		read     bool
		rest     time.Duration
		readFail bool
	}{
		{at: 0, file: old, inForce: old, rest: LookTime},
		{at: time.Second, file: half, inForce: old, rest: settleTime},
		{at: time.Second + 150*time.Millisecond, file: half, inForce: old, rest: 50 * time.Millisecond},
		{at: time.Second + 150*time.Millisecond, file: next, inForce: old, rest: settleTime}, // it changes
		{at: time.Second + 350*time.Millisecond, file: next, inForce: old, read: true, readFail: true},
		{at: time.Second + 360*time.Millisecond, file: next, inForce: old, rest: LookTime - 10*time.Millisecond},
		{at: time.Second + 350*time.Millisecond + LookTime, file: next, inForce: old, read: true, readFail: true},
		{at: time.Second + 350*time.Millisecond + 2*LookTime, file: next, inForce: old, read: true},
		{at: 6 * time.Second, file: next, inForce: next, rest: LookTime},
	} {
		read, rest := w.Look(at(step.at), step.file, step.inForce)
		if read != step.read || rest != step.rest {
			t.Errorf("step %d: read %v, rest %s", i, read, rest)
		}
		if step.readFail {
			w.Failed(at(step.at))
		}
	}
	if since := w.Since(); !since.Equal(at(time.Second + 150*time.Millisecond)) {
		t.Errorf("unchanged since %s", since.Sub(start))
	}
}

// TestStateOf: whatever decides over whether a file can be read is part of it.
func TestStateOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients.txt")
	if StateOf(path) != (State{}) {
		t.Error("the state of a file that is not there")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	was := StateOf(path)
	if err := os.Chtimes(path, time.Time{}, was.modified); err != nil { // only the ctime
		t.Fatal(err)
	}
	if now := StateOf(path); now == was || now.modified != was.modified || now.uid != uint32(os.Getuid()) || now.gid != uint32(os.Getgid()) {
		t.Errorf("%+v, and then %+v", was, now)
	}
}

// TestHalfAFile: what has no newline at its end may not be whole.
func TestHalfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients.txt")
	for text, whole := range map[string]bool{
		"": true, "\n": true, "com1 s 0\n": true, "com1 s 0 services=web\ncom2 s 0": false, "# x": false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Read(path, nil)
		if err != nil || l.Whole != whole || l.State != StateOf(path) {
			t.Errorf("%q: whole %v, %v", text, l.Whole, err)
		}
		err = Edit(t.Context(), path, func(lines []Line) ([]Line, error) { return lines, nil })
		if (err == nil) != whole {
			t.Errorf("%q: edited: %v", text, err)
		}
	}
}

// TestRemove: a client's line goes, whatever is wrong with it and with the others,
// and nothing else does.
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

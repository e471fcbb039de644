package logsink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var at = time.Date(2026, 11, 22, 9, 14, 45, 207_000_000, time.UTC)

func record(msg string, attrs ...any) slog.Record {
	r := slog.NewRecord(at, slog.LevelWarn, msg, 0)
	r.Add(attrs...)
	return r
}

// TestFormats: the same line as text and as JSON. A number stays a number.
func TestFormats(t *testing.T) {
	line := record("opened", "service", "web", "client", "xTbP", "for", "30s", "left_out", uint64(7), "on", true, "hint", "a")
	edit := func(a slog.Attr) slog.Attr {
		if a.Key == "hint" {
			a.Value = slog.StringValue("b \"c\"\n")
		}
		return a
	}
	for format, want := range map[Format]string{
		Text: `time=2026-11-22T09:14:45.207Z level=WARN msg=opened service=web client=xTbP for=30s left_out=7 on=true hint="b \"c\"\n"` + "\n",
		JSON: `{"time":"2026-11-22T09:14:45.207Z","level":"WARN","msg":"opened","service":"web","client":"xTbP","for":"30s","left_out":7,"on":true,"hint":"b \"c\"\n"}` + "\n",
	} {
		var b bytes.Buffer
		var tail Tail
		s := New(Config{Out: &b, Format: format, Tail: &tail, Edit: edit, JournalStream: "1:2"})
		err := s.Write(line)
		if err != nil || b.String() != want {
			t.Errorf("%s: %v, %s", format, err, b.String())
		}
		if format == JSON && !json.Valid(b.Bytes()) {
			t.Errorf("not JSON: %s", b.String())
		}
		got := tail.Lines()
		if len(got) != 1 || !strings.HasPrefix(got[0], "time=2026-11-22T09:14:45.207Z level=WARN msg=opened ") {
			t.Errorf("the tail: %q", got)
		}
	}
}

// TestTimeOfJSON: has three digits after the second, also if they are zeros.
func TestTimeOfJSON(t *testing.T) {
	var b bytes.Buffer
	s := New(Config{Out: &b, Format: JSON})
	s.Write(slog.NewRecord(at.Truncate(time.Second), slog.LevelInfo, "line", 0))
	if want := `{"time":"2026-11-22T09:14:45.000Z","level":"INFO","msg":"line"}` + "\n"; b.String() != want {
		t.Errorf("%s", b.String())
	}
}

// limited accepts a number of bytes, like a full disk.
type limited struct {
	bytes.Buffer
	room int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.room)
	l.room -= n
	l.Buffer.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// TestTornLine: after a part of a line, the next one begins on a new line.
func TestTornLine(t *testing.T) {
	whole := new(bytes.Buffer)
	New(Config{Out: whole}).Write(record("second"))
	for room := range 2 * whole.Len() {
		out := &limited{room: room}
		s := New(Config{Out: out})
		for s.Write(record("second")) == nil {
		}
		for _, more := range []int{0, 1, 5} { // again and again
			out.room = more
			s.Write(record("second"))
		}
		out.room = 1 << 20
		if err := s.Write(record("second")); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if last := lines[len(lines)-1] + "\n"; last != whole.String() {
			t.Fatalf("with room for %d bytes: %q", room, out.String())
		}
	}
}

// TestTail: the last lines, also those that the stream refuses.
func TestTail(t *testing.T) {
	var tail Tail
	s := New(Config{Out: &limited{}, Tail: &tail})
	for i := range 3 * tailLines {
		err := s.Write(record("line", "n", i, "text", strings.Repeat("x", 2*tailLine)))
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	lines := tail.Lines()
	first, last := fmt.Sprintf(" n=%d ", 2*tailLines), fmt.Sprintf(" n=%d ", 3*tailLines-1)
	if len(lines) != tailLines || !strings.Contains(lines[0], first) || !strings.Contains(lines[tailLines-1], last) || len(lines[0]) != tailLine {
		t.Errorf("%d lines of %d bytes, from %.60s", len(lines), len(lines[0]), lines[0])
	}
}

// world is a stream that leads to a journal, of which the test is the other end.
type world struct {
	path    string
	socket  *net.UnixConn
	in, out *os.File // the stream
	sink    *Sink
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{path: filepath.Join(t.TempDir(), "socket")}
	w.listen(t)
	var err error
	if w.in, w.out, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.in.Close(); w.out.Close() })
	info, err := w.out.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	w.sink = New(Config{Out: w.out, Journal: w.path, JournalStream: fmt.Sprintf("%d:%d", st.Dev, st.Ino), Tail: new(Tail)})
	return w
}

func (w *world) listen(t *testing.T) {
	t.Helper()
	var err error
	if w.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: w.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.socket.Close() })
}

// entry returns the fields of the next entry of the journal.
func (w *world) entry(t *testing.T) (fields []string) {
	t.Helper()
	b := make([]byte, maxEntry)
	n, err := w.socket.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	for b = b[:n]; len(b) > 0; {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		if !bytes.Contains(line, []byte("=")) { // its length follows
			size := 0
			for i := 7; i >= 0; i-- {
				size = size<<8 | int(rest[i])
			}
			line, rest = append(append(line, '='), rest[8:8+size]...), rest[8+size+1:]
		}
		fields, b = append(fields, string(line)), rest
	}
	return fields
}

// TestJournal: the lines get to the journal as fields, by a real socket. Each key is a
// field.
func TestJournal(t *testing.T) {
	w := newWorld(t)
	if err := w.sink.Write(record("opened", "service", "web", "left_out", 3, "odd.key", "a\nb")); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`MESSAGE=level=WARN msg=opened service=web left_out=3 odd.key="a\nb"`, "PRIORITY=4", "SYSLOG_IDENTIFIER=" + filepath.Base(os.Args[0]),
		"SALLYPORT_EVENT=opened", "SALLYPORT_TIME=2026-11-22T09:14:45.207Z", "SALLYPORT_SERVICE=web", "SALLYPORT_LEFT_OUT=3", "SALLYPORT_ODD_KEY=a\nb",
	}
	if got := w.entry(t); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for level, want := range map[slog.Level]string{slog.LevelDebug: "7", slog.LevelInfo: "6", slog.LevelError: "3"} {
		if got := priority(level); got != want {
			t.Errorf("%s: priority %s", level, got)
		}
	}
}

// TestJournalRestarts: when the journal has a new socket, the lines get there. Meanwhile
// they go to the stream, as text.
func TestJournalRestarts(t *testing.T) {
	w := newWorld(t)
	w.sink.Write(record("first"))
	w.entry(t)
	w.socket.Close()
	os.Remove(w.path)
	if err := w.sink.Write(record("meanwhile")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, _ := w.in.Read(b); string(b[:n]) != "time=2026-11-22T09:14:45.207Z level=WARN msg=meanwhile\n" {
		t.Errorf("the stream: %q", b[:n])
	}
	w.listen(t)
	w.sink.Write(record("again"))
	if got := w.entry(t); !slices.Contains(got, "SALLYPORT_EVENT=again") {
		t.Errorf("%q", got)
	}
}

// TestJournalStalls: a journal that reads nothing delays a line by a second, and then the
// line goes to the stream. So does one that is too large for a datagram.
func TestJournalStalls(t *testing.T) {
	w := newWorld(t)
	lines := make(chan string, 100)
	go func() {
		b := make([]byte, 2*maxEntry)
		for {
			n, err := w.in.Read(b)
			if err != nil {
				return
			}
			for line := range strings.Lines(string(b[:n])) {
				lines <- line
			}
		}
	}()
	for sent := 0; len(lines) == 0; sent++ { // until the queue of the socket is full
		if sent > 10_000 {
			t.Fatal("the socket has no bound")
		}
		if err := w.sink.Write(record("line")); err != nil {
			t.Fatal(err)
		}
	}
	go func() { // the journal reads again
		b := make([]byte, maxEntry)
		for {
			if _, err := w.socket.Read(b); err != nil {
				return
			}
		}
	}()
	if err := w.sink.Write(record("large", "text", strings.Repeat("x", maxEntry-4096))); err != nil {
		t.Fatal(err)
	}
	for line := range lines {
		if strings.Contains(line, "msg=large") {
			break
		}
	}
}

// TestOtherStreams: what JOURNAL_STREAM does not describe gets text.
func TestOtherStreams(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	New(Config{Out: out, JournalStream: "1:2", Journal: "/nonexistent"}).Write(record("line"))
	out.Close()
	if b, _ := io.ReadAll(in); string(b) != "time=2026-11-22T09:14:45.207Z level=WARN msg=line\n" {
		t.Errorf("%q", b)
	}
}

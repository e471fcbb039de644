package runner

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/program"
)

// TestStartIsRefused: the server's end refuses a request before it sends it.
func TestStartIsRefused(t *testing.T) {
	b := begin(t, 0, script(program.Server, `exit 0`))
	site := program.ID{Service: "site", Role: program.Server}
	for name, r := range map[string]program.Request{
		"another program":  {Program: program.ID{Service: "site", Role: program.OnOpen}},
		"another variable": {Program: site, Env: []string{"LD_PRELOAD=/tmp/x.so"}},
		"a listener":       {Program: site, Listener: os.Stdin},
	} {
		if _, err := b.Start(r); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	b.must(b.end(b.start(program.Server)))
}

// TestServerInAnAttackersHands: a runner starts nothing that is not in its policy,
// whatever the server sends, and ends if the server breaks the protocol.
func TestServerInAnAttackersHands(t *testing.T) {
	site := program.ID{Service: "site", Role: program.Server}
	for name, row := range map[string]struct {
		send []message
		want string // of the run; empty: the runner ends
	}{
		"before begin":     {[]message{{kind: kindStart, run: 1, program: site}}, "has not begun"},
		"another program":  {[]message{{kind: kindBegin}, {kind: kindStart, run: 1, program: program.ID{Service: "ssh", Role: program.Server}}}, "no such program"},
		"another variable": {[]message{{kind: kindBegin}, {kind: kindStart, run: 1, program: site, env: []string{"PATH=/tmp"}}}, "expected variables like"},
		"begin, twice":     {[]message{{kind: kindBegin}, {kind: kindBegin}}, ""},
		"a run, twice":     {[]message{{kind: kindBegin}, {kind: kindStart, run: 2, program: site}, {kind: kindStart, run: 2, program: site}}, ""},
		"a reply":          {[]message{{kind: kindEnded, run: 1}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 0, script(program.Server, `echo up > $DIR/up; sleep 1000`))
			r := &run{conn: b.Conn, number: 1, done: make(chan struct{})}
			b.mu.Lock()
			b.runs[1] = r
			b.mu.Unlock()
			for _, m := range row.send {
				b.must(b.send(m, nil))
			}
			err := b.end(r)
			if row.want == "" && !errors.Is(err, ErrLost) || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("expected %q, got %v", row.want, err)
			}
			if row.want == "" {
				b.logged("malformed message")
			} else {
				b.logged("msg=\"request refused\"", row.want)
			}
		})
	}
}

// TestRunsAreBounded: a server cannot start more than MaxRuns programs at once.
func TestRunsAreBounded(t *testing.T) {
	r := &runner{Config: Config{Programs: []program.Program{{ID: program.ID{Service: "site"}}}}, mark: "x", runs: map[uint32]*running{}}
	for i := range uint32(MaxRuns) {
		if _, err := r.allowed(message{program: program.ID{Service: "site"}}, false); err != nil {
			t.Fatal(err)
		}
		r.runs[i] = &running{}
	}
	if _, err := r.allowed(message{program: program.ID{Service: "site"}}, false); err == nil {
		t.Error("one more was allowed")
	}
}

// TestConnect: a server does not accept a runner that knows other programs, is of
// another release, or has ended.
func TestConnect(t *testing.T) {
	programs := validPrograms()
	other := Version + 1
	for name, row := range map[string]struct {
		hello []byte
		want  error
	}{
		"another configuration": {message{kind: kindHello, digest: DigestOf(programs[:1])}.append(nil), ErrOtherConfiguration},
		"another release":       {[]byte{byte(kindHello), byte(other)}, ErrOtherRelease},
		"has ended":             {nil, ErrLost},
		"malformed":             {[]byte{byte(kindEnded), 0, 0}, errMessage},
	} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if row.hello != nil {
			unix.Write(pair[1], row.hello)
		}
		unix.Close(pair[1])
		_, err = Connect(Link{Socket: os.NewFile(uintptr(pair[0]), "runner")}, programs)
		if !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStoppedBeforeItBegan: a run that waits for the end of leftovers can be stopped.
func TestStoppedBeforeItBegan(t *testing.T) {
	r := &running{runner: &runner{ready: make(chan struct{})}, stopped: make(chan struct{})}
	r.stop()
	r.stop()
	if r.run(nil, nil) == nil {
		t.Error("it has run")
	}
}

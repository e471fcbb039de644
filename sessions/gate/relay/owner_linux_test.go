package relay

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/sockowner"
	"sallyport/sessions/gate/sockowner/ownertest"
)

// The users of the tests: the program's, and another one of the host.
const mine, theirs = 61001, 61002

// publicDir returns a directory in which every user may make files.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay") // t.TempDir is below a private directory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return dir
}

// through sends a message through a relay, and returns the answer.
func through(t *testing.T, r TCP) (answer string, err error) {
	t.Helper()
	front := listen(t, "127.0.0.1:0")
	client := dial(t, front.Addr().String())
	if _, err := client.Write([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	client.CloseWrite()
	middle := accept(t, front)
	middle.SetDeadline(time.Time{})
	done := make(chan error, 1)
	go func() { done <- carryOnly(r.Carry(context.Background(), middle)) }()
	b, _ := io.ReadAll(client)
	return string(b), <-done
}

// TestOwner: a program of another user that was there first gets no connection, and
// the client's bytes never reach it; the program's own user gets them.
func TestOwner(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	uid := uint32(mine)
	socket := filepath.Join(publicDir(t), "socket")
	for _, row := range []struct {
		network, listen, dial string
		hidden                string // another address of the same port that the other user may have
	}{
		{"tcp", "127.0.0.1:7001", "127.0.0.1:7001", "127.0.0.2:7001"},
		{"tcp", "0.0.0.0:7002", "127.0.0.1:7002", ""},
		{"tcp", "[::1]:7003", "[::1]:7003", "127.0.0.1:7003"},
		{"tcp", "[::]:7004", "localhost:7004", ""},
		{"unix", socket, "unix:" + socket, socket + ".other"},
	} {
		r := TCP{Upstream: Upstream(row.dial), OwnerUID: &uid}
		imposter := ownertest.MustStart(t, theirs, row.network, row.listen)
		var foreign *sockowner.ForeignError
		var unreachable *UpstreamError
		answer, err := through(t, r)
		if answer != "" || !errors.As(err, &unreachable) || !errors.As(err, &foreign) || !strings.Contains(err.Error(), "user ID 61002") {
			t.Errorf("%s, another user: %q, %v", row.dial, answer, err)
		}
		if err := Accepts(t.Context(), r.Upstream, mine); !errors.As(err, &foreign) || foreign.Owner != theirs {
			t.Errorf("%s, another user: accepts %v", row.dial, err)
		}
		imposter.Kill()
		os.Remove(socket)
		if err := Accepts(t.Context(), r.Upstream, mine); err == nil || errors.As(err, new(*sockowner.ForeignError)) {
			t.Errorf("%s, nobody: accepts %v", row.dial, err)
		}
		if answer, err := through(t, r); !errors.As(err, &unreachable) {
			t.Errorf("%s, nobody: %q, %v", row.dial, answer, err)
		}
		if row.hidden != "" {
			ownertest.MustStart(t, theirs, row.network, row.hidden)
		}
		program := ownertest.MustStart(t, mine, row.network, row.listen)
		if err := Accepts(t.Context(), r.Upstream, mine); err != nil {
			t.Errorf("%s: accepts %v", row.dial, err)
		}
		if answer, err := through(t, r); answer != "secret" || err != nil {
			t.Errorf("%s: %q, %v", row.dial, answer, err)
		}
		program.Kill()
		os.Remove(socket)
	}
}

// TestOwnerOfReplacedSocket: a user who replaces the file of a Unix socket, while the
// program runs, gets no connection.
func TestOwnerOfReplacedSocket(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	uid := uint32(mine)
	dir := publicDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	r := TCP{Upstream: UnixUpstream(socket), OwnerUID: &uid}
	ownertest.MustStart(t, mine, "unix", socket)
	if answer, err := through(t, r); answer != "secret" || err != nil {
		t.Fatalf("%q, %v", answer, err)
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	ownertest.MustStart(t, theirs, "unix", socket)
	if answer, err := through(t, r); answer != "" || !errors.As(err, new(*sockowner.ForeignError)) {
		t.Errorf("%q, %v", answer, err)
	}
}

// TestTruncatedUpload: a program sees how many bytes of a client came before the
// client's reset. Over a Unix socket that looks like an end of file.
func TestTruncatedUpload(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	for network, want := range map[string]string{"tcp": "read: connection reset by peer", "unix": "5 <nil>"} {
		address, to := "127.0.0.1:7001", Upstream("127.0.0.1:7001")
		if network == "unix" {
			address = filepath.Join(publicDir(t), "socket")
			to = UnixUpstream(address)
		}
		program := ownertest.MustStart(t, mine, network, address, ownertest.ReadOnly)
		front := listen(t, "127.0.0.1:0")
		client := dial(t, front.Addr().String())
		middle := accept(t, front)
		middle.SetDeadline(time.Time{})
		done := make(chan error, 1)
		go func() { done <- carryOnly(TCP{Upstream: to}.Carry(context.Background(), middle)) }()
		client.Write([]byte("12345"))
		awaitRead(t, carried{client: client, middle: middle})
		abort(client)
		if line, err := program.Lines.ReadString('\n'); err != nil || !strings.Contains(line, want) {
			t.Errorf("%s: the program read %q, %v", network, line, err)
		}
		<-done
	}
}

// TestUDPOwner: datagrams go to the program's user only, also after the program has
// ended and another user has bound its port during a flow.
func TestUDPOwner(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	const address = "127.0.0.1:7001"
	uid := uint32(mine)
	log := new(lines)
	_, _, at := serve(t, UDPConfig{Upstream: address, OwnerUID: &uid, Log: slog.New(slog.NewTextHandler(log, nil))}, "127.0.0.1:0")
	imposter := ownertest.MustStart(t, theirs, "udp", address)
	if err := Receives(t.Context(), address, mine); !errors.As(err, new(*sockowner.ForeignError)) {
		t.Errorf("another user: receives %v", err)
	}
	silent := func(when string) {
		t.Helper()
		c := client(t, "127.0.0.1", at)
		c.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if b, err := exchange(c, []byte("secret")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %q, %v", when, b, err)
		}
	}
	silent("another user")
	netns.Until(t, "a line about the user", func() bool { return strings.Contains(log.String(), "user ID 61002") })
	imposter.Kill()
	if err := Receives(t.Context(), address, mine); !errors.Is(err, sockowner.ErrNone) {
		t.Errorf("nobody: receives %v", err)
	}
	silent("nobody")
	program := ownertest.MustStart(t, mine, "udp", address)
	if err := Receives(t.Context(), address, mine); err != nil {
		t.Errorf("receives %v", err)
	}
	c := client(t, "127.0.0.1", at)
	talk(t, "an answer of the program", c)

	// The flow continues for a moment, at most ownerPause.
	program.Kill()
	imposter = ownertest.MustStart(t, theirs, "udp", address)
	netns.Until(t, "the end of the flow to another user", func() bool {
		c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := exchange(c, []byte("x"))
		return errors.Is(err, os.ErrDeadlineExceeded)
	})
	silent("another user, after the program")
	imposter.Kill()
	ownertest.MustStart(t, mine, "udp", address)
	talk(t, "an answer of the program's next run", c)
}

// TestInherited: a program that inherits the socket is reached through it while it
// runs, by this process only, and nothing waits in between.
func TestInherited(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	state := publicDir(t)
	sockets, err := NewInherited(filepath.Join(state, "sockets"), "site")
	if err != nil {
		t.Fatal(err)
	}
	to := TCP{Upstream: sockets.Upstream(), OwnerUID: own()}
	for run := range 2 {
		if answer, err := through(t, to); answer != "" || !errors.Is(err, syscall.ENOENT) {
			t.Errorf("run %d, before: %q, %v", run, answer, err)
		}
		f, err := sockets.Open()
		if err != nil {
			t.Fatal(err)
		}
		program, err := ownertest.Start(t, mine, f, "inherit", "-")
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if answer, err := through(t, to); answer != "secret" || err != nil {
			t.Errorf("run %d: %q, %v", run, answer, err)
		}
		if err := Accepts(t.Context(), to.Upstream, uint32(os.Geteuid())); err != nil {
			t.Errorf("run %d: accepts %v", run, err)
		}
		for _, uid := range []uint32{mine, theirs} {
			path := sockets.Upstream().Unix()
			_, err := ownertest.Start(t, uid, nil, "dial", path)
			if err == nil || !strings.Contains(err.Error(), "permission denied") {
				t.Errorf("run %d: user ID %d connects: %v", run, uid, err)
			}
		}
		program.Kill()
		// Without a process that has the socket, the kernel refuses.
		if answer, err := through(t, to); answer != "" || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("run %d, after: %q, %v", run, answer, err)
		}
		if err := sockets.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestInheritedAccepts: a program of which the kernel alone has answered does not
// accept yet. One that has accepted once may be busy.
func TestInheritedAccepts(t *testing.T) {
	sockets, err := NewInherited(filepath.Join(t.TempDir(), "sockets"), "site")
	if err != nil {
		t.Fatal(err)
	}
	waits := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		return sockets.Accepts(ctx)
	}
	for _, end := range []string{"closes", "greets", "keeps", "leaves"} {
		f, err := sockets.Open()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if waits() == nil {
			t.Errorf("%s: accepts before the program does", end)
		}
		result := make(chan error, 1)
		go func() { result <- sockets.Accepts(t.Context()) }()
		for range 2 { // the first one has gone
			if end == "leaves" {
				break
			}
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			switch end {
			case "closes":
				c.Close()
			case "greets":
				c.Write([]byte("220 hello"))
				defer c.Close()
			default:
				defer c.Close()
			}
		}
		if end == "leaves" {
			l.Close()
			if err := <-result; err == nil {
				t.Error("accepts, though the program has left")
			}
			continue
		}
		if err := <-result; err != nil {
			t.Errorf("%s: %v", end, err)
		}
		if err := sockets.Accepts(t.Context()); err != nil {
			t.Errorf("%s: %v while the program is busy", end, err)
		}
		l.Close()
	}
}

// TestInheritedAcceptsLate: what is found out about a run when the next one has begun
// is not about the next one.
func TestInheritedAcceptsLate(t *testing.T) {
	sockets, err := NewInherited(filepath.Join(t.TempDir(), "sockets"), "site")
	if err != nil {
		t.Fatal(err)
	}
	open := func() net.Listener {
		f, err := sockets.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		l, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	first := open()
	result := make(chan error, 1)
	go func() { result <- sockets.Accepts(t.Context()) }()
	raw, err := first.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	netns.Until(t, "a connection", func() (waits bool) {
		raw.Control(func(fd uintptr) { waits = readable(int(fd)) })
		return waits
	})
	open()
	c, err := first.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if sockets.Accepts(ctx) == nil {
		t.Error("the next run accepts before its program does")
	}
}

// TestInheritedAtStart: the socket that a crash has left is removed, and anything that
// this process has not made is an error.
func TestInheritedAtStart(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	state := publicDir(t)
	dir := filepath.Join(state, "sockets")
	socket := filepath.Join(dir, "site")
	refused := func(what, want string) {
		t.Helper()
		if _, err := NewInherited(dir, "site"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Symlink(state, dir))
	refused("the directory is a link", "not a directory")
	must(os.Remove(dir))
	must(os.Mkdir(dir, 0o750))
	refused("a group may enter", "mode 0750")
	must(os.Chmod(dir, 0o700))
	must(os.Chown(dir, theirs, theirs))
	refused("another user's directory", "user ID 61002")
	must(os.Chown(dir, 0, 0))
	must(os.WriteFile(socket, nil, 0o600))
	refused("a file", "expected a socket")
	must(os.Remove(socket))
	must(os.Symlink("/nowhere", socket))
	refused("a link", "expected a socket")
	must(os.Remove(socket))
	sockets, err := NewInherited(dir, "site")
	must(err)
	left, err := sockets.Open()
	must(err)
	must(os.Chown(socket, theirs, theirs))
	refused("another user's socket", "user ID 61002")
	must(os.Chown(socket, 0, 0))
	next, err := NewInherited(dir, "site") // a crash: nothing was closed
	must(err)
	if _, err := net.Dial("unix", socket); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("the socket of the earlier run: %v", err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "../site"} {
		if _, err := NewInherited(dir, name); err == nil {
			t.Errorf("the name %q is accepted", name)
		}
	}
	f, err := next.Open()
	must(err)
	again, err := next.Open() // without Close in between
	must(err)
	f.Close()
	again.Close()
	left.Close()
	must(next.Close())
	must(next.Close())

	long := filepath.Join(dir, strings.Repeat("d", 120))
	far, err := NewInherited(long, "site")
	must(err)
	f, err = far.Open()
	must(err)
	defer f.Close()
	if err := Accepts(t.Context(), far.Upstream(), 0); err != nil {
		t.Errorf("a long path: %v", err)
	}
	must(far.Close())
}

// lines is a log that one goroutine writes while another reads.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

func own() *uint32 {
	uid := uint32(os.Geteuid())
	return &uid
}

// TestProgramEnds: what a client sees when the program at a Unix socket has ended, or
// closed its connection: all that it sent, and then the end of the connection.
func TestProgramEnds(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listenUnix(t)
	t.Run("after it has read all", func(t *testing.T) {
		c := carry(t, TCP{}, front, back)
		greet(t, c.client, c.upstream)
		answer := bytes.Repeat([]byte("answer"), 1<<16)
		go func() {
			c.upstream.Write(answer)
			c.upstream.Close()
		}()
		if got, err := io.ReadAll(c.client); err != nil || !bytes.Equal(got, answer) {
			t.Errorf("the client read %d bytes, %v", len(got), err)
		}
		// The client has not ended its direction: the relay does not wait for that.
		if err := c.wait(t); err != nil {
			t.Error(err)
		}
		netns.Until(t, "a reset", func() bool { _, err := c.client.Write([]byte("x")); return err != nil })
	})
	t.Run("with unread bytes", func(t *testing.T) {
		c := carry(t, TCP{}, front, back)
		greet(t, c.client, c.upstream)
		if _, err := c.client.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		awaitBytes(t, c.upstream)
		c.upstream.Close()
		if _, err := c.client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client: %v", err)
		}
		if err := c.wait(t); err == nil {
			t.Error("a broken connection was carried well")
		}
	})
	t.Run("while its answer waits for a slow client", func(t *testing.T) {
		c := carry(t, TCP{}, front, back)
		greet(t, c.client, c.upstream)
		// More than the client's buffers take: a part waits in the Unix socket.
		size := fill(t, c.upstream)
		c.upstream.Close()
		if _, err := c.client.Write([]byte("lost")); err != nil {
			t.Fatal(err)
		}
		awaitRead(t, c)
		if n, err := io.Copy(io.Discard, c.client); n != size || err != nil {
			t.Errorf("the client read %d of %d bytes, %v", n, size, err)
		}
		if err := c.wait(t); !errors.Is(err, errUnread) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("before it accepts", func(t *testing.T) {
		l := listenUnix(t)
		client := dial(t, front.Addr().String())
		middle, done := accept(t, front), make(chan error, 1)
		middle.SetDeadline(time.Time{})
		go func() {
			done <- carryOnly(TCP{Upstream: upstreamAt(l), OwnerUID: own()}.Carry(t.Context(), middle))
		}()
		if _, err := client.Write([]byte("a question")); err != nil {
			t.Fatal(err)
		}
		// The listener holds a connection that it has not accepted.
		raw, err := l.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		netns.Until(t, "a connection", func() bool {
			var ready bool
			raw.Control(func(fd uintptr) { ready = readable(int(fd)) })
			return ready
		})
		l.Close()
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client: %v", err)
		}
		if err := (carried{done: done}).wait(t); err == nil {
			t.Error("a broken connection was carried well")
		}
	})
}

// awaitBytes waits until bytes can be read.
func awaitBytes(t testing.TB, c stream) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(func(fd uintptr) bool { return readable(int(fd)) }); err != nil {
		t.Fatal(err)
	}
}

// readable reports whether bytes can be read, or a connection can be accepted.
func readable(fd int) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n == 1
}

// queued returns the number of bytes in a queue of a socket.
func queued(t testing.TB, c stream, queue uint) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), queue) })
	return n
}

// awaitRead waits until the relay has read what the client sent.
func awaitRead(t testing.TB, c carried) {
	t.Helper()
	netns.Until(t, "the relay has read what the client sent", func() bool {
		return queued(t, c.client, unix.SIOCOUTQ) == 0 && queued(t, c.middle, unix.SIOCINQ) == 0
	})
}

// fill writes until the buffers are full. On a busy machine, the relay may have had no
// time to empty them: so several attempts in a row must fail.
func fill(t testing.TB, c stream) (size int64) {
	t.Helper()
	chunk := make([]byte, 1<<14)
	for failed := 0; failed < 10; failed++ {
		c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := c.Write(chunk)
		if size += int64(n); err == nil || n > 0 {
			failed = -1
		}
		if size > 64<<20 {
			t.Fatal("the buffers are never full")
		}
	}
	c.SetWriteDeadline(netns.Deadline(t))
	return size
}

// TestClientResets: a program at a Unix socket sees that its connection is closed. If
// the relay had not read all that the program sent, it also sees a reset.
func TestClientResets(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listenUnix(t)
	for _, unread := range []bool{false, true} {
		c := carry(t, TCP{}, front, back)
		greet(t, c.client, c.upstream)
		want := io.EOF
		if unread {
			fill(t, c.upstream)
			want = syscall.ECONNRESET
		}
		abort(c.client)
		if err := c.wait(t); err == nil {
			t.Error("a broken connection was carried well")
		}
		if _, err := c.upstream.Read(make([]byte, 1)); !errors.Is(err, want) {
			t.Errorf("unread %t: the program read %v", unread, err)
		}
		// Unlike after a half-close, the program cannot answer.
		if _, err := c.upstream.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("unread %t: the program wrote: %v", unread, err)
		}
	}
}

// TestUnixReadsNoMore: a program that has ended only its reading still answers.
func TestUnixReadsNoMore(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listenUnix(t)
	c := carry(t, TCP{}, front, back)
	greet(t, c.client, c.upstream)
	if err := c.upstream.(*net.UnixConn).CloseRead(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.Write([]byte("more")); err != nil {
		t.Fatal(err)
	}
	awaitRead(t, c)
	if _, err := c.upstream.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	c.upstream.Close()
	if got, err := io.ReadAll(c.client); err != nil || string(got) != "answer" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestUnixUnreachable: each way in which a path can be no listening stream socket.
func TestUnixUnreachable(t *testing.T) {
	dir := t.TempDir()
	front := listen(t, "127.0.0.1:0")
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	packets, err := net.Listen("unixpacket", filepath.Join(dir, "packets"))
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	for name, want := range map[string]error{
		"absent": syscall.ENOENT, "stale": syscall.ECONNREFUSED, "file": syscall.ECONNREFUSED, "packets": syscall.EPROTOTYPE,
		strings.Repeat("n", 200): syscall.ENOENT,
	} {
		client := dial(t, front.Addr().String())
		to := UnixUpstream(filepath.Join(dir, name))
		_, err := TCP{Upstream: to}.Carry(t.Context(), accept(t, front))
		var unreachable *UpstreamError
		if !errors.As(err, &unreachable) || unreachable.Upstream != to || !errors.Is(err, want) && len(name) < 100 {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: the client read %d bytes, %v", name, n, err)
		}
	}
}

// TestNotToItself: a proxy does not lead to a Unix socket of the server, which trusts
// the server's user.
func TestNotToItself(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listenUnix(t)
	dial(t, front.Addr().String())
	_, err := TCP{Upstream: upstreamAt(back)}.Carry(t.Context(), accept(t, front))
	var unreachable *UpstreamError
	if !errors.As(err, &unreachable) || !errors.Is(err, errSelf) {
		t.Errorf("got %v", err)
	}
}

// fullBacklog returns a socket that listens, with no room for a further connection.
func fullBacklog(t *testing.T) (path string, listening *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "full")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	listening = os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { listening.Close() })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			return path, listening
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
}

// TestFullBacklog: a connection waits for room, as over TCP, at most for the time of
// a dial, and no longer than its client does.
func TestFullBacklog(t *testing.T) {
	front := listen(t, "127.0.0.1:0")
	path, listening := fullBacklog(t)
	start := func(timeout time.Duration) (client *net.TCPConn, done chan error) {
		client = dial(t, front.Addr().String())
		middle := accept(t, front)
		middle.SetDeadline(time.Time{})
		done = make(chan error, 1)
		r := TCP{Upstream: UnixUpstream(path), OwnerUID: own(), DialTimeout: timeout, Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			return net.Dial(network, address) // at once, also when the time is over
		}}
		go func() { done <- carryOnly(r.Carry(context.Background(), middle)) }()
		return client, done
	}
	_, done := start(20 * time.Millisecond)
	var unreachable *UpstreamError
	if err := <-done; !errors.As(err, &unreachable) || !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("after the time: %v", err)
	}
	gone, done := start(time.Hour)
	abort(gone)
	if err := <-done; !errors.Is(err, errGone) {
		t.Errorf("the client has disconnected: %v", err)
	}
	client, done := start(time.Minute)
	for {
		// Room for one after the other, until the relay's connection comes.
		fd, _, err := unix.Accept(int(listening.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if _, err := unix.Write(fd, []byte("x")); err == nil {
			break
		}
	}
	_ = client
	abort(client)
	if err := <-done; err == nil {
		t.Error("ended well")
	}
}

// TestUnixLocalName: with the audit's callback, each connection has another name,
// which the upstream sees too.
func TestUnixLocalName(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listenUnix(t)
	seen := map[string]bool{}
	for range 3 {
		names := make(chan string, 1)
		c := carry(t, TCP{Begins: func(local net.Addr) { names <- local.String() }}, front, back)
		name := <-names
		peer := c.upstream.RemoteAddr().String()
		if !strings.HasPrefix(name, "@") || len(name) < 2 || name != peer || seen[name] {
			t.Errorf("the relay is %q, and %q for the upstream", name, peer)
		}
		seen[name] = true
		abort(c.client)
		c.wait(t)
	}
	c := carry(t, TCP{}, front, back)
	if peer := c.upstream.RemoteAddr().String(); peer != "@" && peer != "" {
		t.Errorf("without the callback, the relay has the name %q", peer)
	}
	abort(c.client)
	c.wait(t)
}

// TestLongUnixPath: the upstream's path may be longer than an address of the kernel.
func TestLongUnixPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	old, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	back, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	t.Chdir(old)
	front := listen(t, "127.0.0.1:0")
	client := dial(t, front.Addr().String())
	middle := accept(t, front)
	middle.SetDeadline(time.Time{})
	done := make(chan error, 1)
	go func() {
		done <- carryOnly(TCP{Upstream: UnixUpstream(filepath.Join(dir, "socket")), OwnerUID: own()}.Carry(context.Background(), middle))
	}()
	upstream := acceptStream(t, back)
	greet(t, client, upstream)
	client.Close()
	upstream.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDescriptors: connections to Unix sockets leave no descriptor behind, however
// they end.
func TestDescriptors(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listenUnix(t)
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	var before int
	for round := range 200 {
		if round == 20 {
			before = open() // the runtime has opened what it needs
		}
		c := carry(t, TCP{}, front, back)
		switch round % 4 {
		case 0:
			abort(c.client)
		case 1:
			c.upstream.Close()
			io.Copy(io.Discard, c.client)
		case 2:
			c.client.CloseWrite()
			io.Copy(io.Discard, c.upstream)
			c.upstream.Close()
		case 3:
			c.middle.Close()
		}
		<-c.done
		c.client.Close()
		c.upstream.Close()
	}
	netns.Until(t, "closed descriptors", func() bool { return open() <= before+8 })
}

package moved

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/systemd"
	"sallyport/sessions/gate"
	"sallyport/verify"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// manager is a service manager whose store has no limit. It returns the files that it has.
func manager(t *testing.T, more map[string]string) (systemd.Notifier, func() []*os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	files := make(chan []*os.File, 100)
	go func() {
		b, oob := make([]byte, 4096), make([]byte, 4096)
		for {
			n, m, _, _, err := l.ReadMsgUnix(b, oob)
			if err != nil {
				return
			}
			var got []*os.File
			messages, _ := unix.ParseSocketControlMessage(oob[:m])
			for i := range messages {
				fds, _ := unix.ParseUnixRights(&messages[i])
				for _, fd := range fds {
					got = append(got, os.NewFile(uintptr(fd), "stored"))
				}
			}
			if string(b[:n]) == "BARRIER=1" {
				for _, f := range got {
					f.Close()
				}
				continue
			}
			if string(b[:n]) != "FDSTORE=1\nFDNAME="+Name+"\nFDPOLL=0" {
				t.Errorf("got %q", b[:n])
			}
			files <- got
		}
	}()
	getenv := func(name string) string {
		if name == "NOTIFY_SOCKET" {
			return path
		}
		return more[name]
	}
	return systemd.FromEnvironment(getenv), func() (all []*os.File) {
		for len(files) > 0 {
			all = append(all, <-files...)
		}
		return all
	}
}

// pair is a connection, and the ends of the client and the upstream.
func pair(t *testing.T) (c Connection, client, upstream net.Conn) {
	t.Helper()
	c.Moved = gate.Moved{Service: "ssh", Upstream: "127.0.0.1:22", Owners: []wire.Identifier{verifytest.ID("com1")}, Leased: true}
	c.Secrets = []verify.Fingerprint{7}
	c.Client, client = socket(t)
	c.Server, upstream = socket(t)
	return c, client, upstream
}

func socket(t *testing.T) (*os.File, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	far.SetDeadline(time.Now().Add(time.Minute))
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	f, err := near.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	return f, far
}

// TestStoreAndTake: the next server gets the connections, in whatever order the manager
// passes them, and closes all else.
func TestStoreAndTake(t *testing.T) {
	m, stored := manager(t, nil)
	first, client, upstream := pair(t)
	second, other, _ := pair(t)
	if err := Store(t.Context(), m, []Connection{first, second}); err != nil {
		t.Fatal(err)
	}
	files := stored()
	if len(files) != 5 {
		t.Fatalf("%d files in the store", len(files))
	}
	files[0], files[4] = files[4], files[0]
	made, stranger := socket(t)
	half := files[3] // of the second connection: the manager has no room for its other half
	if half == nil {
		t.Fatal("no file")
	}
	half.Close()
	files[3] = made
	list, err := Take(files)
	if err != nil || len(list) != 1 {
		t.Fatalf("got %+v, %v", list, err)
	}
	c := list[0]
	if c.Service != first.Service || c.Upstream != first.Upstream || !c.Leased || c.Proved || c.Owners[0] != first.Owners[0] || c.Secrets[0] != 7 {
		t.Errorf("got %+v", c)
	}
	for far, near := range map[net.Conn]*os.File{client: c.Client, upstream: c.Server} {
		io.WriteString(far, "x")
		if _, err := near.Read(make([]byte, 1)); err != nil {
			t.Errorf("another socket: %v", err)
		}
	}
	for name, far := range map[string]net.Conn{"a stranger": stranger, "half a connection": other} {
		if _, err := far.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStoreInTime: a manager whose queue is full, as each user of the host can make it, does
// not delay the stop of a server for longer than the time for all connections.
func TestStoreInTime(t *testing.T) {
	m, stored := manager(t, nil)
	first, client, _ := pair(t)
	second, _, _ := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Store(ctx, m, []Connection{first, second}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := m.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := stored(); len(files) > 1 {
		t.Errorf("%d files were stored after that time", len(files))
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client: %v", err)
	}
}

// TestEnd: a connection ends although another process has its sockets.
func TestEnd(t *testing.T) {
	c, client, upstream := pair(t)
	var held []int
	for _, f := range []*os.File{c.Client, c.Server} {
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			copied, err := unix.Dup(int(fd))
			if err != nil {
				t.Error(err)
			}
			held = append(held, copied)
		})
	}
	c.End()
	for _, far := range []net.Conn{client, upstream} {
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v", err)
		}
	}
	for _, fd := range held {
		unix.Close(fd)
	}
}

// TestTakeNothing: without one whole, sealed table all sockets are closed.
func TestTakeNothing(t *testing.T) {
	id := verifytest.ID("com1")
	for name, tables := range map[string]func(text []byte) []*os.File{
		"no table": func([]byte) []*os.File { return nil },
		"two tables": func(text []byte) []*os.File {
			a, _ := sealed(text)
			b, _ := sealed(text)
			return []*os.File{a, b}
		},
		"a file that is not sealed": func(text []byte) []*os.File {
			f, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			f.Write(text)
			return []*os.File{f}
		},
		"another table": func([]byte) []*os.File {
			f, _ := sealed([]byte(`{"version":2,"connections":[]}`))
			return []*os.File{f}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, client, _ := pair(t)
			a, err := cookie(c.Client)
			if err != nil {
				t.Fatal(err)
			}
			b, err := cookie(c.Server)
			if err != nil {
				t.Fatal(err)
			}
			text, err := encode([]row{{Service: "ssh", Upstream: "x:1", Owners: []owner{{id[:], 1}}, Client: a, Server: b}})
			if err != nil {
				t.Fatal(err)
			}
			if list, err := Take(append(tables(text), c.Client, c.Server)); len(list) > 0 {
				t.Errorf("got %+v, %v", list, err)
			}
			if _, err := client.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client: %v", err)
			}
		})
	}
}

// TestRoom: a server passes on as many connections as the manager stores.
func TestRoom(t *testing.T) {
	for text, want := range map[string]int{"": MaxConnections, "1001": MaxConnections, "9999": MaxConnections, "3": 1, "4": 1, "5": 2, "2": 0, "0": 0, "x": 0} {
		m, _ := manager(t, map[string]string{"FDSTORE": text})
		if got := Room(m); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if got := Room(systemd.Notifier{}); got != 0 {
		t.Errorf("without a manager: %d", got)
	}
}

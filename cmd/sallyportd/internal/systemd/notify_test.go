package systemd

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// listen returns the socket of a service manager, and what the environment names it.
func listen(t *testing.T, more map[string]string) (*net.UnixConn, Notifier) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { manager.Close() })
	return manager, FromEnvironment(func(name string) string {
		if name == "NOTIFY_SOCKET" {
			return path
		}
		return more[name]
	})
}

func heard(t *testing.T, manager *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 100)
	n, err := manager.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestSend(t *testing.T) {
	manager, n := listen(t, nil)
	n.Send("READY=1")
	if got := heard(t, manager); got != "READY=1" {
		t.Errorf("got %q", got)
	}
	Notifier{}.Send("READY=1")
	Notifier{socket: filepath.Join(t.TempDir(), "none")}.Send("READY=1")
}

// TestFullQueue: a manager that reads nothing does not stop the server, which sends the next
// state as soon as there is room.
func TestFullQueue(t *testing.T) {
	manager, n := listen(t, nil)
	other, err := net.Dial("unixgram", n.socket) // of another user, as far as the queue is concerned
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetWriteDeadline(time.Now().Add(time.Second))
	for err == nil {
		_, err = other.Write([]byte("noise"))
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		n.Send("STOPPING=1") // has no room
	}()
	select {
	case <-sent:
	case <-time.After(time.Minute):
		t.Fatal("Send waits for the manager")
	}
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		n.SendUntil(t.Context(), "READY=1") // gets room
	}()
	for heard(t, manager) != "READY=1" {
	}
	<-ready
}

// TestKeepAlive: there are signs of life while the server is alive, and none when it is
// not.
func TestKeepAlive(t *testing.T) {
	manager, n := listen(t, map[string]string{"WATCHDOG_USEC": "2000", "WATCHDOG_PID": strconv.Itoa(os.Getpid())})
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	n.KeepAlive(ctx, func() bool {
		if asked++; asked == 8 {
			cancel()
		}
		return asked <= 3 || asked == 7
	})
	n.Send("STOPPING=1")
	var got []string
	for len(got) == 0 || got[len(got)-1] != "STOPPING=1" {
		got = append(got, heard(t, manager))
	}
	if len(got) != 5 {
		t.Errorf("got %q; want four signs of life", got)
	}
}

// TestNoWatchdog: KeepAlive returns at once.
func TestNoWatchdog(t *testing.T) {
	for _, more := range []map[string]string{{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "-1"}, {"WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"}} {
		_, n := listen(t, more)
		n.KeepAlive(t.Context(), func() bool {
			t.Errorf("%v: asked", more)
			return true
		})
	}
	n := FromEnvironment(func(name string) string { return map[string]string{"WATCHDOG_USEC": "30000000"}[name] })
	n.KeepAlive(t.Context(), func() bool { t.Error("asked without a socket"); return true })
	if n.watchdog != 30*time.Second {
		t.Errorf("got %s", n.watchdog)
	}
}

package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

// TestServiceManager: a service manager hears from the server, which has dropped its
// privileges, that it is ready, that it lives, and that it stops, in this order.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	makeGuests(t, dir)
	path := filepath.Join(dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	hear := func() string {
		b := make([]byte, 100)
		n, err := manager.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	cmd := exec.Command("/proc/self/exe", "serve", "-c", filepath.Join(dir, config.FileName))
	cmd.Args[0], cmd.Stderr = "sallyportd", os.Stderr
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=20000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := hear(); got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	var last []string
	for !slices.Contains(last, "STOPPING=1") {
		last = append(last, hear())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if i := slices.IndexFunc(last, func(s string) bool { return s != "WATCHDOG=1" }); last[i] != "STOPPING=1" {
		t.Errorf("heard %q", last)
	}
}

// TestServiceManagerStalls: any user can fill the queue of the service manager. The server
// answers commands nevertheless, and stops. When there is room, it is reported to be ready.
func TestServiceManagerStalls(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	makeGuests(t, dir)
	path := filepath.Join(dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	fill(t, path)
	cmd := exec.Command("/proc/self/exe", "serve", "-c", filepath.Join(dir, config.FileName))
	cmd.Args[0], cmd.Stderr = "sallyportd", os.Stderr
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=20000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	conn := admin.Conn{Socket: filepath.Join(dir, "sallyportd.sock")}
	netns.Until(t, "it reloads", func() bool {
		_, err := conn.Reload(t.Context())
		return err == nil
	})
	b := make([]byte, 100)
	for text := ""; text != "READY=1"; {
		n, err := manager.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b[:n])
	}
	fill(t, path)
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// fill fills the queue of a socket.
func fill(t *testing.T, path string) {
	t.Helper()
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	for err == nil {
		_, err = conn.Write([]byte("noise"))
	}
}

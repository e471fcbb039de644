package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestISNPassed: a connection whose sequence number lets it in can be passed, too.
func TestISNPassed(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newISNNetwork(t)
	n.serve()
	if n.greets(n.insider, "22") {
		t.Fatal("the service is not hidden")
	}
	stdout, receiver := socketPair(t)
	defer unix.Close(receiver)
	cmd := exec.Command(n.path("sallyport"), "connect", "--fdpass", n.path("one.toml"), "--timeout", "20s")
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	if err := n.insider.Do(cmd.Run); err != nil {
		t.Fatalf("%v\nserver: %s", err, n.log())
	}
	n.await("the line about the lease", func() bool { return strings.Contains(n.log(), "msg=opened") })
	f := os.NewFile(uintptr(receive(t, receiver)), "connection")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	conn.Write([]byte("line\n"))
	for _, want := range []string{greeting, "line\n"} {
		if got, err := r.ReadString('\n'); got != want {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
}

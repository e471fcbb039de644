package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/cmd/sallyportd/internal/systemd"
	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// removals is a service manager that calls a function when a server removes its files.
func removals(t *testing.T, removed func()) systemd.Notifier {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		b, oob := make([]byte, 4096), make([]byte, 4096)
		for {
			n, m, _, _, err := l.ReadMsgUnix(b, oob)
			if err != nil {
				return
			}
			if strings.HasPrefix(string(b[:n]), "FDSTOREREMOVE=1\n") {
				removed()
			}
			messages, _ := unix.ParseSocketControlMessage(oob[:m])
			for i := range messages {
				fds, _ := unix.ParseUnixRights(&messages[i])
				for _, fd := range fds { // of a barrier
					unix.Close(fd)
				}
			}
		}
	}()
	return systemd.FromEnvironment(func(name string) string {
		return map[string]string{"NOTIFY_SOCKET": path}[name]
	})
}

// TestLeasesDoNotWaitForStore: interrupted leases open before a server waits for the manager's
// store, which may take seconds. Until then it would refuse the closing knocks of their clients.
func TestLeasesDoNotWaitForStore(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	cfg := configtest.Parse(t, t.TempDir(), `
listen = ["127.0.0.1"]
[[service]]
name = "hook"
type = "command"
on_open = ["/bin/open"]
command_user = "www"
open_for = "1h"
open_max = "1h"
`)
	if err := state.Create(cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	id := wire.Identifier([]byte("com1"))
	list := clients.List{{Identifier: id, Secret: []byte("secret of com1")}}
	var s *Server
	atRemoval := make(chan int, 1)
	manager := removals(t, func() { atRemoval <- len(s.gate.Leases()) })
	for _, again := range []bool{false, true} {
		env := Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler), Programs: &fakePrograms{gone: make(chan struct{})}, Manager: manager}
		if again {
			stored, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			env.Stored = []*os.File{stored}
		}
		var err error
		if s, err = New(t.Context(), cfg, list, nil, env); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-s.interrupted.opened
		if !again {
			grant := sessions.Grant{Identifier: id, Address: netip.MustParseAddr("127.0.0.1")}
			if err := errors.Join(s.gate.Open([]sessions.Grant{grant})...); err != nil {
				t.Fatal(err)
			}
		} else if n := <-atRemoval; n != 1 {
			t.Errorf("%d leases are open when the store is asked, want 1", n)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/helper"
	"sallyport/verify/wire"
)

// TestHundredThousandLeases opens and closes them at services of every type,
// behind the firewall: no socket, goroutine or element of a set is left.
func TestHundredThousandLeases(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	grants := uint32(25_000) // each at four services
	if testing.Short() {
		grants = 1_000
	}
	terms := gate.Terms{OpenFor: time.Second, OpenMax: time.Second, Addresses: 8}
	cfg := config{services: []serviceConfig{
		{name: "web", kind: "web", listen: "127.0.0.1:8080", terms: terms, prefixLen6: 128, connections: 64},
		{name: "tcp", kind: "proxy", listen: "127.0.0.1:8081", upstream: "127.0.0.1:7", terms: terms, prefixLen6: 128, connections: 64, filtered: true},
		{name: "udp", kind: "proxy", udp: true, listen: "127.0.0.1:8082", upstream: "127.0.0.1:7", terms: terms, prefixLen6: 128, connections: 64},
		{name: "ssh", kind: "firewall", listen: ":22", terms: terms, prefixLen6: 64},
	}}
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	client, ended := inProcessHelper(t, cfg)
	log := slog.New(slog.DiscardHandler)
	var list []*gate.Service
	wall := newWall(cfg, client)
	for _, s := range cfg.services {
		c, err := contentOf(s)
		if err != nil {
			t.Fatal(err)
		}
		r := newService(s, c, wall, hostClock, log)
		if err := r.prepare(); err != nil {
			t.Fatal(err)
		}
		list = append(list, r.service)
	}
	g, err := gate.NewServices(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	highest := 0
	for i := range grants {
		var id wire.Identifier
		binary.BigEndian.PutUint32(id[:], 0x41414141+i/4) // four addresses a client
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if i%2 == 1 {
			var b [16]byte
			b[0], b[1] = 0x20, 0x01
			binary.BigEndian.PutUint32(b[4:], i)
			a = netip.AddrFrom16(b)
		}
		if err := errors.Join(g.Open([]sessions.Grant{{Identifier: id, Address: a}})...); err != nil {
			t.Fatalf("grant %d: %v", i, err)
		}
		if i%2_500 == 0 {
			n, err := elements()
			if err != nil {
				t.Fatal(err)
			}
			highest = max(highest, n)
		}
	}
	t.Logf("%d elements were there at a time", highest)
	await := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	await("no element left", func() bool {
		n, err := elements()
		return err == nil && n == 0
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := client.Stop(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	await("no goroutine and no socket left", func() bool { return runtime.NumGoroutine() <= goroutines && openFiles(t) <= files })
}

// inProcessHelper is the second process, in this one.
func inProcessHelper(t *testing.T, cfg config) (*helper.Client, <-chan error) {
	t.Helper()
	table, err := firewall.Claim(cfg.firewall(), hostClock)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	lifeline, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		defer held.Close()
		_, err := helper.Serve(os.NewFile(uintptr(pair[1]), "server"), helper.Config{
			Policy: cfg.policy(), Digest: cfg.digest(), Firewall: table, Clock: hostClock, Log: slog.New(slog.DiscardHandler),
		})
		ended <- err
	}()
	client, err := helper.NewClient(os.NewFile(uintptr(pair[0]), "helper"), lifeline, hostClock)
	if err == nil {
		err = client.Ready(cfg.digest())
	}
	if err != nil {
		t.Fatal(err)
	}
	return client, ended
}

// elements is how many grants the firewall has.
func elements() (n int, err error) {
	conn, err := nftables.New()
	if err != nil {
		return 0, err
	}
	table := &nftables.Table{Name: firewall.Name, Family: nftables.TableFamilyINet}
	for _, name := range []string{"granted4", "granted6", "granted6net", "anyone4", "anyone6"} {
		set, err := conn.GetSetByName(table, name)
		if err != nil {
			return 0, err
		}
		all, err := conn.GetSetElements(set)
		if err != nil {
			return 0, err
		}
		n += len(all)
	}
	return n, nil
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

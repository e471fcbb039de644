package guard

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

func alive(t *testing.T) bool {
	t.Helper()
	is, err := Alive()
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// now returns a context that has ended.
func now(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestOneGuardAtATime(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	if alive(t) {
		t.Fatal("a guard in a new namespace")
	}
	g, err := Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !alive(t) {
		t.Error("the guard gives no sign")
	}
	if _, err := Take(now(t)); !errors.Is(err, ErrTaken) {
		t.Errorf("a second guard: %v", err)
	}
	// The second Take waits for the end of the first guard.
	next := make(chan error, 1)
	go func() {
		g, err := Take(t.Context())
		if err == nil {
			err = g.Close()
		}
		next <- err
	}()
	select {
	case err := <-next:
		t.Errorf("did not wait: %v", err)
	case <-time.After(3 * retryTime):
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := <-next; err != nil {
		t.Error(err)
	}
	if alive(t) {
		t.Error("the sign outlives its guard")
	}
	// Of many concurrent calls, each succeeds in turn, alone.
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			g, err := Take(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if !mu.TryLock() {
				t.Error("two guards at a time")
				return
			}
			time.Sleep(time.Millisecond)
			mu.Unlock()
			g.Close()
		})
	}
	wg.Wait()
	// Another namespace has a separate guard.
	host := netns.NewHost(t)
	if g, err = Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := host.Do(func() error {
		is, err := Alive()
		if is {
			t.Error("the guard of another namespace")
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// TestLocalUsersCannotGuard: without CAP_NET_ADMIN, a process can neither fake
// the sign, nor prevent a guard by occupying a port.
func TestLocalUsersCannotGuard(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	before, none := [2]unix.CapUserData{}, [2]unix.CapUserData{}
	if err := unix.Capget(&header, &before[0]); err != nil {
		t.Fatal(err)
	}
	none[0].Permitted, none[1].Permitted = before[0].Permitted, before[1].Permitted
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(now(t)); !errors.Is(err, unix.EPERM) {
		t.Errorf("without CAP_NET_ADMIN: %v", err)
	}
	for i := range uint32(100) {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: base + i}); err != nil {
			t.Fatal(err)
		}
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES)
		if !errors.Is(err, unix.EPERM) {
			t.Fatalf("joins a group without CAP_NET_ADMIN: %v", err)
		}
	}
	if alive(t) {
		t.Error("a local user gives the sign")
	}
	if err := unix.Capset(&header, &before[0]); err != nil {
		t.Fatal(err)
	}
	g, err := Take(now(t))
	if err != nil {
		t.Fatalf("while a local user holds ports: %v", err)
	}
	g.Close()
}

func TestParse(t *testing.T) {
	const list = `sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
000000001 0   1397751808 00000040 0        0        0     2        0        1
000000002 12  1397751808 00000000 0        0        0     2        0        2
000000003 12  1397751808 00000040 0        0        0     2        0        3
000000004 12  1443       00000040 0        0        0     2        0        4
000000005 12  1398800384 00000040 0        0        0     2        0        5
`
	got, err := parse(strings.NewReader(list))
	if err != nil || !slices.Equal(got, []uint32{base}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := parse(strings.NewReader(strings.ReplaceAll(list, "1443", "x"))); err == nil {
		t.Error("a port that is no number")
	}
	if text, err := os.ReadFile(procFile); err != nil || len(text) == 0 {
		t.Errorf("%q, %v", text, err)
	}
}

//go:build unix

package client

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/sessions/durable"
)

// TestMemoryIsNoFile: something else is in the place of the files in which the client
// remembers. It neither waits for them nor replaces them, and goes on without.
func TestMemoryIsNoFile(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Unix(1_800_000_000, 0)
	fifo, link, socket := filepath.Join(dir, "fifo"), filepath.Join(dir, "link"), filepath.Join(dir, "socket")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, path := range []string{fifo, link, socket, dir} {
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		f := CarrierFile{path}
		f.remember(memoryPlace, CarrierHTTPS, now)
		f.forget(memoryPlace)
		if by := f.remembered(memoryPlace, now); by != CarrierAuto {
			t.Errorf("%s: remembered %q", path, by)
		}
		// The same for what is beside the nonces.
		n := NonceFile{Path: filepath.Join(dir, "n", filepath.Base(path))}
		os.MkdirAll(filepath.Dir(n.Path), 0o700)
		for _, suffix := range []string{addressesSuffix, ".ports"} {
			if err := os.Symlink(path, n.Path+suffix); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		n.rememberAddresses(ctx, "gate.example", parseAll("192.0.2.9")...)
		n.see(ctx, "web", 1, netip.MustParseAddrPort("192.0.2.9:22"))
		if len(n.readAddresses()) > 0 || len(n.readSeen()) > 0 {
			t.Errorf("%s: %v, %v", path, n.readAddresses(), n.readSeen())
		}
		n.Path = path
		if _, err := n.read(); err == nil {
			t.Errorf("%s: nonces of no file", path)
		}
		cancel()
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s was replaced: %v", path, err)
		}
	}
}

// TestMemoryCannotBeWritten: a directory that is in the way, or a lock that another process
// does not release, costs the memory only.
func TestMemoryCannotBeWritten(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	f := CarrierFile{filepath.Join(t.TempDir(), "carriers")}
	if err := os.MkdirAll(f.Path+".new/x", 0o700); err != nil { // the new file cannot be made
		t.Fatal(err)
	}
	f.remember(memoryPlace, CarrierHTTPS, now)
	if by := f.remembered(memoryPlace, now); by != CarrierAuto {
		t.Errorf("remembered %q", by)
	}
	if err := os.RemoveAll(f.Path + ".new"); err != nil {
		t.Fatal(err)
	}
	f.remember(memoryPlace, CarrierHTTPS, now)
	lock, err := durable.TakeLock(t.Context(), f.Path+".lock", f.Path, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	f.remember(memoryPlace, CarrierDNS, now)
	if by := f.remembered(memoryPlace, now); by != CarrierHTTPS {
		t.Errorf("remembered %q", by)
	}
	in := filepath.Join(f.Path, "below a file", "carriers")
	CarrierFile{in}.remember(memoryPlace, CarrierHTTPS, now)
}

// TestMemoryIsShared: of several clients that write at once, none loses the line of another
// one, and no reader sees a part of the file.
func TestMemoryIsShared(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	f := CarrierFile{filepath.Join(t.TempDir(), "carriers")}
	f.remember(memoryPlace, CarrierHTTPS, now)
	var all sync.WaitGroup
	const clients = 4
	for i := range clients {
		all.Go(func() {
			p := memoryPlace
			p.server = string(rune('a'+i)) + ".example"
			for f.remembered(p, now) != CarrierDNS { // it may have to wait for too long for the others
				f.remember(p, CarrierDNS, now)
			}
			if by := f.remembered(memoryPlace, now); by != CarrierHTTPS {
				t.Errorf("remembered %q", by)
			}
		})
	}
	all.Wait()
	if n := len(f.read()); n != clients+1 {
		t.Errorf("%d lines", n)
	}
}

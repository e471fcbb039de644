package xdp

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// TestReset: a program that is taken over by its descriptors has no rule of the server
// before, and its geometry and seeds stay.
func TestReset(t *testing.T) {
	if !netns.Privileged() {
		t.Skip("needs the host's root")
	}
	first, err := Load(Sizes{Clients: 100, Slots: 64})
	if err != nil {
		t.Fatal(err)
	}
	taken := map[string]int{}
	for name, fd := range first.Descriptors() {
		if taken[name], err = unix.Dup(fd); err != nil {
			t.Fatal(err)
		}
	}
	first.Close()
	p, err := FromDescriptors(taken)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	read := func(name string) []byte {
		t.Helper()
		b, err := unix.Mmap(p.arrays[name].FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Munmap(b) })
		return b
	}
	settings, before := read("settings"), bytes.Clone(read("settings"))
	settings[0] = 0xff // the flags
	for _, name := range []string{"ports", "rows", "identifiers", "counters", "control", "records", "shares", "filter"} {
		b := read(name)
		copy(b, "a rule")
		b[len(b)-1] = 1
	}
	if err := p.Reset(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(settings, before) || bytes.Equal(before, make([]byte, len(before))) {
		t.Errorf("the settings became\n%x, from\n%x", settings[:64], before[:64])
	}
	for _, name := range []string{"ports", "rows", "identifiers", "counters", "control", "records", "shares", "filter"} {
		if b := read(name); !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("%s has a rule of the server before", name)
		}
	}
}

package ingest

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"

	"golang.org/x/net/bpf"

	"sallyport/ingest/prefilter"
	"sallyport/verify/schedule"
)

// socketFilter is the tier of classic BPF programs at the sockets of the knock
// ports. Its Set never fails: where the kernel takes no program, it refuses
// less, and the log says so once. It belongs to the rotation goroutine, but for
// its counts.
type socketFilter struct {
	off     bool
	sockets int // of each port
	ports   map[netip.AddrPort]*port
	log     onceLog

	table prefilter.Table // in force; without identifiers if they are too many
	set   bool            // there is one
	level atomic.Int32    // a prefilter.Level
	drops drops
}

// maxInstructions bounds what the filters of all sockets take together: each
// has its own copy of 8 bytes an instruction, and as much again compiled.
const maxInstructions = 2 << 20

// Set implements tier, for the sockets that are open; others get their program
// with attach, before they are bound.
func (f *socketFilter) Set(t prefilter.Table) (prefilter.Level, error) {
	if f.off {
		return prefilter.None, nil
	}
	if t.Identifiers != nil && !f.fits(t) {
		t.Identifiers = nil
	}
	last := f.table
	same := f.set && last.Maximum == t.Maximum && last.Identifiers == t.Identifiers
	if !same {
		// What was found out about how much the kernel takes holds no more.
		f.log.reset()
		if level := t.Level(); f.set && level != prefilter.Level(f.level.Load()) {
			f.log.Info("kernel filter changed", "kernel_filter", level)
		}
		f.level.Store(int32(t.Level()))
	}
	f.table, f.set = t, true
	for at, p := range f.ports {
		if same && slices.Equal(last.Ports[at.Port()], t.Ports[at.Port()]) {
			continue
		}
		program := t.Raw(at.Port())
		for _, s := range p.sockets {
			f.attach(s.fd, at.Port(), program)
		}
	}
	return prefilter.Level(f.level.Load()), nil
}

// fits reports whether there is room for the identifiers in all programs. It
// reckons with the largest table of this size, or the level would change from
// minute to minute.
func (f *socketFilter) fits(t prefilter.Table) bool {
	ports := schedule.MaxLive * (int(t.Maximum) + 1)
	return t.Identifiers.Instructions()*ports*f.sockets <= maxInstructions
}

// program returns what the sockets of a port are to be given; nil: nothing.
func (f *socketFilter) program(port uint16) []bpf.RawInstruction {
	if f.off || !f.set {
		return nil
	}
	return f.table.Raw(port)
}

// attach gives a socket its program, in place of the one that it had. Where the
// kernel has no room for all of it, the socket gets the part without the
// clients.
func (f *socketFilter) attach(fd int, port uint16, program []bpf.RawInstruction) {
	if program == nil || prefilter.AttachRaw(fd, program) == nil {
		return
	}
	// In place of another, it needs room for both. Without one for a moment,
	// all is checked here as ever.
	prefilter.Detach(fd)
	err := prefilter.AttachRaw(fd, program)
	if err == nil {
		return
	}
	if ids := f.table.Identifiers; ids != nil {
		f.log.once(slog.LevelWarn, "kernel filter does not check client identifiers", "clients", ids.Len(), "error", err,
			"hint", "if the kernel is out of memory, raise net.core.optmem_max")
		f.level.Store(min(f.level.Load(), int32(prefilter.Shape)))
		shape := f.table
		shape.Identifiers = nil
		if err = prefilter.AttachRaw(fd, shape.Raw(port)); err == nil {
			return
		}
	}
	f.log.once(slog.LevelWarn, "kernel filter not attached", "error", err)
	f.level.Store(int32(prefilter.None))
}

// Counts implements tier. The server adds those that have not been divided.
func (f *socketFilter) Counts() TierCounts {
	return TierCounts{
		Name: "socket_filter", Level: prefilter.Level(f.level.Load()), Counted: true,
		Refused: f.drops.refused.Load(), Full: f.drops.full.Load(),
	}
}

// Close implements tier: the programs end with their sockets.
func (f *socketFilter) Close() error { return nil }

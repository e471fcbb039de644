package ingest

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"

	"golang.org/x/net/bpf"

	"sallyport/ingest/prefilter"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// socketFilter is the tier of classic BPF programs at the sockets of the knock
// ports. Its Set never fails: if the kernel rejects a program, the tier refuses
// less, and logs that once. It belongs to the rotation goroutine, except for its
// counts.
type socketFilter struct {
	disabled bool
	sockets  int // of each port
	ports    map[netip.AddrPort]*port
	log      onceLog

	table    prefilter.Table // in force; without identifiers if they are too many
	hasTable bool
	traced   *wire.Identifier // datagrams with it pass, as a trace runs; nil: none runs
	level    atomic.Int32     // a prefilter.Level
	drops    drops
}

// maxInstructions bounds the total size of the filters of all sockets: each
// socket has its own copy of 8 bytes per instruction, and the same again for the
// compiled program.
const maxInstructions = 2 << 20

// Set implements tier, for the sockets that are open. A new socket gets its
// program from attach, before it is bound.
func (f *socketFilter) Set(t prefilter.Table) (prefilter.Level, error) {
	if f.disabled {
		return prefilter.None, nil
	}
	if t.Identifiers != nil && !f.fits(t) {
		t.Identifiers = nil
	}
	last := f.table
	same := f.hasTable && last.Maximum == t.Maximum && last.Identifiers == t.Identifiers
	if !same {
		// A new table can fit where the last one did not.
		f.log.reset()
		if level := t.Level(); f.hasTable && level != prefilter.Level(f.level.Load()) {
			f.log.Info("kernel filter changed", "kernel_filter", level)
		}
		f.level.Store(int32(t.Level()))
	}
	f.table, f.hasTable = t, true
	for at, p := range f.ports {
		if same && slices.Equal(last.Ports[at.Port()], t.Ports[at.Port()]) {
			continue
		}
		f.attachAll(at, p)
	}
	return prefilter.Level(f.level.Load()), nil
}

// fits reports whether there is room for the identifiers in all programs. It
// assumes the largest number of ports, otherwise the level would change from
// minute to minute.
func (f *socketFilter) fits(t prefilter.Table) bool {
	if t.Identifiers.Len() > prefilter.MaxIdentifiers {
		return false
	}
	ports := schedule.MaxLive * (int(t.Maximum) + 1)
	return t.Identifiers.Instructions()*ports*f.sockets <= maxInstructions
}

// attachAll replaces the programs of a port.
func (f *socketFilter) attachAll(at netip.AddrPort, p *port) {
	program := f.program(at.Port())
	for _, s := range p.sockets {
		f.attach(s.fd, at.Port(), program)
	}
}

// trace makes datagrams with an identifier pass, or with none: nil.
func (f *socketFilter) trace(id *wire.Identifier) {
	f.traced = id
	if !f.disabled && f.hasTable {
		f.level.Store(int32(f.table.Level())) // attach lowers it again, if there is no room
	}
	for at, p := range f.ports {
		f.attachAll(at, p)
	}
}

// program returns the program for the sockets of a port; nil if they get none.
func (f *socketFilter) program(port uint16) []bpf.RawInstruction {
	if f.disabled || !f.hasTable {
		return nil
	}
	if f.traced != nil {
		return f.table.RawTraced(port, *f.traced)
	}
	return f.table.Raw(port)
}

// attach replaces the program of a socket. If the kernel has no room for the
// whole program, the socket gets the part without the clients.
func (f *socketFilter) attach(fd int, port uint16, program []bpf.RawInstruction) {
	if program == nil || prefilter.AttachRaw(fd, program) == nil {
		return
	}
	// To replace a program, the kernel needs room for both. While the socket has
	// none, this process refuses the same datagrams.
	prefilter.Detach(fd)
	err := prefilter.AttachRaw(fd, program)
	if err == nil {
		return
	}
	if f.traced != nil && prefilter.AttachRaw(fd, f.table.Raw(port)) == nil {
		// A trace must not weaken the filter for all others.
		f.log.once(slog.LevelWarn, "kernel filter has no room for the trace, which sees less", "error", err,
			"hint", "raise net.core.optmem_max")
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

// Counts implements tier. Receiver.Stats adds Either.
func (f *socketFilter) Counts() TierCounts {
	return TierCounts{
		Name: "socket_filter", Level: prefilter.Level(f.level.Load()), Counted: true,
		Refused: f.drops.refused.Load(), Full: f.drops.full.Load(),
	}
}

// Close implements tier: the programs end with their sockets.
func (f *socketFilter) Close() error { return nil }

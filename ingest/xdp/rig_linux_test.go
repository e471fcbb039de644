package xdp

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// rig is a loaded program, whose rules the test writes itself, and not by Shield: what
// both get wrong would agree.
type rig struct {
	testing.TB
	*Program
	settings *Settings
	buckets  []Bucket
	filter   []uint64
	counters [][counterSlots]uint64
	control  []Control
	records  []Record
	shares   []Share
	silent   time.Duration // since the last beat, in each run
}

func newRig(t testing.TB, sizes Sizes) *rig { return rigOf(t, load1(t, sizes)) }

func rigOf(t testing.TB, p *Program) *rig {
	t.Helper()
	r := &rig{TB: t, Program: p}
	r.settings = &mapped[Settings](r, "settings")[0]
	r.buckets = mapped[Bucket](r, "identifiers")
	r.filter = mapped[uint64](r, "filter")
	r.counters = mapped[[counterSlots]uint64](r, "counters")
	r.control = mapped[Control](r, "control")
	r.records = mapped[Record](r, "records")
	r.shares = mapped[Share](r, "shares")
	r.settings.Window = 192
	r.setFlows(allPort)
	if err := r.SetAddresses([]Address{{host4, hostMAC}, {host6, hostMAC}}); err != nil {
		t.Fatal(err)
	}
	return r
}

// load1 loads a program for the length of a test. A test without privileges skips.
func load1(t testing.TB, sizes Sizes) *Program { return loadAs(t, sizes, withFlows, withoutFlows) }

func loadAs(t testing.TB, sizes Sizes, choice ...variants) *Program {
	t.Helper()
	p, err := loadFirst(sizes, choice...)
	if err != nil {
		if errors.Is(err, ErrPrivilege) && !netns.Privileged() {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// mapped maps an array.
func mapped[T any](r *rig, name string) []T {
	r.Helper()
	m := r.arrays[name]
	var one T
	n := int(m.ValueSize()) * int(m.MaxEntries()) / int(unsafe.Sizeof(one))
	size := (n*int(unsafe.Sizeof(one)) + os.Getpagesize() - 1) &^ (os.Getpagesize() - 1)
	memory, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		r.Fatalf("map %s: %v", name, err)
	}
	r.Cleanup(func() { unix.Munmap(memory) })
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(memory))), n)
}

// setTable writes the ports, and the row of each, from 1.
func (r *rig) setTable(table prefilter.Table) {
	r.Helper()
	number := uint16(0)
	for port, places := range table.Ports {
		if len(places) > 0 {
			number++
			r.setRow(number, table.Maximum, places)
			r.setPort(port, number)
		} else {
			r.setPort(port, 0)
		}
	}
}

func (r *rig) setRow(number uint16, maximum int8, places []schedule.Place) {
	r.Helper()
	var row [RowPlaces]uint64
	lowest, highest := uint64(maximum), uint64(maximum)
	if maximum == prefilter.AnyMaximum {
		lowest, highest = 0, 127
	}
	for i, p := range places {
		if socketOnly(p) {
			row[0] |= PlaceSocket
			continue
		}
		row[i] |= uint64(uint32(int64(p.Minute)*60-2)) | uint64(p.Index)<<PlaceIndex |
			lowest<<PlaceLowest | highest<<PlaceHighest | PlaceValid
	}
	r.put("rows", uint32(number), row)
}

// socketOnly reports whether a minute has seconds that no timestamp has: the arrays
// cannot have its place.
func socketOnly(p schedule.Place) bool {
	first := int64(p.Minute)*60 - 2
	return first < 0 || first+PlaceSeconds > 1<<32
}

func (r *rig) setPort(port, row uint16) {
	r.Helper()
	var four [4]uint16
	if err := r.arrays["ports"].Lookup(uint32(port/4), &four); err != nil {
		r.Fatal(err)
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		r.Fatal("the lowest port is in the lowest bits")
	}
	four[port%4] = row
	r.put("ports", uint32(port/4), four)
}

// setFlows sets the ports that flows may have, whatever rules this host has.
func (r *rig) setFlows(ports portRange) {
	r.Helper()
	state := r.state
	state.Flows = ports
	if err := r.setState(state); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) put(array string, key uint32, value any) {
	r.Helper()
	if err := r.arrays[array].Put(key, value); err != nil {
		r.Fatalf("write to %s: %v", array, err)
	}
}

// setClients replaces the identifiers, and returns their entries. If there is no room for
// one, it tries other seeds: the rig does not move identifiers, as Shield does.
func (r *rig) setClients(ids ...wire.Identifier) map[wire.Identifier]*Entry {
	r.Helper()
	for range 100 {
		if entries := r.insertAll(ids); entries != nil {
			return entries
		}
		for i := range 2 {
			r.settings.Seeds[i] = rand.Uint32() | 1
		}
	}
	r.Fatalf("no room for %d clients", len(ids))
	return nil
}

func (r *rig) insertAll(ids []wire.Identifier) map[wire.Identifier]*Entry {
	clear(r.buckets)
	clear(r.filter)
	bits := uint(0)
	for 1<<bits < len(r.buckets) {
		bits++
	}
	entries := map[wire.Identifier]*Entry{}
	for n, id := range ids {
		number := binary.NativeEndian.Uint32(id[:])
		for choice := range 2 {
			// Odd ones take their second choice first.
			bucket := hash(number, r.settings.Seeds[(choice+n)%2], bits)
			b := &r.buckets[bucket]
			for i := range b {
				if entries[id] == nil && b[i].ID.Load() == 0 {
					b[i].ID.Store(number)
					entries[id] = &b[i]
					h := number * r.settings.Seeds[3]
					r.filter[hash(number, r.settings.Seeds[2], bits-2)] |= 1<<(h/(1<<26)) | 1<<(h/(1<<20)%64)
				}
			}
		}
		if entries[id] == nil {
			return nil
		}
	}
	return entries
}

func hash(number, seed uint32, bits uint) uint32 { return uint32(uint64(number*seed) << bits >> 32) }

func (r *rig) counts() (sum [counterSlots]uint64) {
	for i := range r.counters {
		for j, n := range r.counters[i] {
			sum[j] += n
		}
	}
	return sum
}

const (
	xdpDrop = 1
	xdpPass = 2
)

// beat shows the program that a server runs, or did so a while ago, and makes it look at
// the clock.
func (r *rig) beat() {
	r.settings.Beat.Store(uint64(Monotonic() - r.silent))
	for cpu := range r.control {
		r.control[cpu].Tick = 0
	}
}

// run runs a program on a frame, and returns the counter that has counted it. It fails
// if several or none have, or the verdict does not belong to the counter.
func (r *rig) run(program *ebpf.Program, frame []byte) int {
	r.Helper()
	r.beat()
	before := r.counts()
	verdict, out, err := program.Test(frame)
	if err != nil {
		r.Fatalf("run the program: %v", err)
	}
	if string(out) != string(frame) {
		r.Fatal("the program has changed the frame")
	}
	counter, moved := -1, uint64(0)
	for i, n := range r.counts() {
		if n != before[i] {
			counter, moved = i, moved+n-before[i]
		}
	}
	if counter < 0 || moved != 1 {
		r.Fatalf("%d frames counted, want 1", moved)
	}
	want := uint32(xdpDrop)
	if counter <= CountSocket || r.settings.Flags.Load()&FlagMirror != 0 {
		want = xdpPass
	}
	if verdict != want {
		r.Fatalf("counter %d: verdict %d, want %d", counter, verdict, want)
	}
	return counter
}

// drain returns the unread records of all rings, and frees them.
func (r *rig) drain() []Record { return r.take(1 << 30) }

// take is drain for at most n records of each ring.
func (r *rig) take(n uint64) (all []Record) {
	slots := uint64(r.settings.Slots)
	for cpu := range r.control {
		c := &r.control[cpu]
		tail := c.Tail.Load()
		end := min(tail+n, c.Head.Load())
		for ; tail < end; tail++ {
			record := r.records[uint64(cpu)*slots+tail%slots]
			all = append(all, record)
			if record.Counted == 1 {
				for table, entry := range record.Shares {
					r.shares[(cpu*4+table)*ShareEntries+int(entry)].Taken.Add(1)
				}
			}
		}
		c.Tail.Store(tail)
	}
	return all
}

// monotonic is the clock of Record.Arrival.
func monotonic(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

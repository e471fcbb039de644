package xdp

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"sallyport/bench/race"
	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// TestShieldAgrees: with each row's table, the program passes what the table accepts, and
// refuses what it refuses by the same rule, on a port that it has. So does its stand-in
// of the other tests.
func TestShieldAgrees(t *testing.T) {
	for _, row := range prefiltertest.Rows() {
		standIn := memory(t, sizes{1, 2, 1024})
		standIn.Set(row.Table)
		for _, p := range prefiltertest.Packets() {
			want := countOfPacket(row, p.Datagram)
			got := verdict(standIn, row.Port, p.Datagram)
			if got != want {
				t.Errorf("%s: %s: the stand-in counts it as %s, want %s", row.Name, p.Name, CountNames[got], CountNames[want])
			}
		}
	}
	r := newRig(t, Sizes{Clients: 2 * prefilter.MaxIdentifiers, Slots: 1 << 10})
	s := mapProgram(t, r.Program)
	s.SetRing(true)
	ring := s.Ring(0, 1)
	for _, row := range prefiltertest.Rows() {
		if level := s.Set(row.Table); level != row.Table.Level() {
			t.Errorf("%s: level %s", row.Name, level)
		}
		before, all := s.Counts(), Counts{}
		for _, p := range prefiltertest.Packets() {
			for _, v6 := range []bool{false, true} {
				want, f := countOfPacket(row, p.Datagram), knockTo(v6, row.Port, p.Datagram)
				if got := r.run(r.native, f.bytes()); got != want {
					t.Errorf("%s: %s: counted as %s, want %s", row.Name, p.Name, CountNames[got], CountNames[want])
				}
				all[want]++
				records := ring.Next(9)
				switch {
				case want != CountRing && len(records) > 0, want == CountRing && len(records) != 1:
					t.Errorf("%s: %s: %d records", row.Name, p.Name, len(records))
				case want == CountRing && (string(records[0].Datagram[:]) != string(p.Datagram) || records[0].To != row.Port):
					t.Errorf("%s: %s: came as %x to %d", row.Name, p.Name, records[0].Datagram, records[0].To)
				}
				if len(records) > 0 {
					ring.Release()
				}
			}
		}
		if got := s.Counts(); got != before.Add(all) {
			t.Errorf("%s: counters %v, want %v", row.Name, got, before.Add(all))
		}
	}
}

// countOfPacket is the counter of a datagram to a row's port.
func countOfPacket(row prefiltertest.Row, datagram []byte) int {
	places, has := row.Table.Ports[row.Port]
	switch {
	case !has:
		return CountOther
	case slices.ContainsFunc(places, socketOnly):
		return CountSocket
	}
	want := countOf[row.Want(datagram)]
	if want == CountMaximum && len(places) == 0 {
		return CountSequence // a row without a place has no maximum
	}
	return want
}

// mapProgram maps the arrays of a loaded program, as a server does.
func mapProgram(t *testing.T, p *Program) *Shield {
	t.Helper()
	files := map[string]*os.File{}
	for name, f := range p.Files() {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = os.NewFile(uintptr(fd), name)
	}
	s, err := Map(files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// drawTable draws a table of few ports, places and clients, so that two tables have
// much in common.
func drawTable(t *rapid.T) prefilter.Table {
	maximum := rapid.SampledFrom([]int8{1, 2, prefilter.AnyMaximum}).Draw(t, "maximum")
	ports := map[uint16][]schedule.Place{}
	for _, port := range rapid.SliceOfNDistinct(rapid.Uint16Range(6, 10), 0, 5, rapid.ID).Draw(t, "ports") {
		places := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) schedule.Place {
			return schedule.Place{
				Minute: prefiltertest.Minute + schedule.Minute(rapid.IntRange(0, 3).Draw(t, "minute")),
				Index:  rapid.Int8Range(0, 2).Draw(t, "index"), Secret: schedule.SecretName(rapid.Uint64Range(0, 1).Draw(t, "secret")),
			}
		}), 0, 12).Draw(t, "places")
		ports[port] = prefilter.Wider(tableOf(maximum, map[uint16][]schedule.Place{port: places}, nil), prefilter.Table{}).Ports[port]
	}
	if rapid.IntRange(0, 9).Draw(t, "any client") == 0 {
		return tableOf(maximum, ports, nil)
	}
	numbers := rapid.SliceOfNDistinct(rapid.IntRange(0, 24), 0, 20, rapid.ID).Draw(t, "clients")
	ids := make([]wire.Identifier, len(numbers))
	for i, n := range numbers {
		ids[i] = number(n)
	}
	return tableOf(maximum, ports, prefilter.NewIdentifiers(ids))
}

func number(n int) wire.Identifier { return wire.Identifier(fmt.Appendf(nil, "%04d", n)) }

// knocks are all knocks that a drawn table may accept, and some more.
func knocks() (all [][]byte) {
	for maximum := range int8(3) {
		for sequence := range maximum + 1 {
			for minute := range uint32(3) {
				for n := range 26 {
					all = append(all, forged(wire.Knock{
						Sequence: sequence, Maximum: maximum, Identifier: number(n), Timestamp: prefiltertest.Start + minute*60 + 30, Nonce: 1000,
					}))
				}
			}
		}
	}
	return all
}

// TestSetHasNoGap: after each single store of Set, the program accepts what the tables
// of before and of after accept. When Set returns, it accepts what the new table
// accepts; and nothing else, unless the level or a full row shows that.
func TestSetHasNoGap(t *testing.T) {
	datagrams := knocks()
	rapid.Check(t, func(rt *rapid.T) {
		s := memory(t, sizes{1, 2, rapid.SampledFrom([]int{1, 2, 4, 8, 64}).Draw(rt, "buckets")})
		before := prefilter.Table{Identifiers: prefilter.NewIdentifiers(nil)}
		for range rapid.IntRange(1, 5).Draw(rt, "tables") {
			after := drawTable(rt)
			if rapid.Bool().Draw(rt, "only other clients") {
				after.Maximum, after.Ports = before.Maximum, before.Ports
			}
			type pair struct {
				port     uint16
				datagram []byte
			}
			var both []pair
			for port := range after.Ports {
				for _, d := range datagrams {
					if before.Accepts(port, d) == verify.Authentic && after.Accepts(port, d) == verify.Authentic {
						both = append(both, pair{port, d})
					}
				}
			}
			stores := 0
			s.observe = func() {
				stores++
				for _, p := range both {
					if c := verdict(s, p.port, p.datagram); !passes(c) {
						rt.Fatalf("store %d: %x at %d is refused by %s", stores, p.datagram[:16], p.port, CountNames[c])
					}
				}
			}
			level := s.Set(after)
			s.observe = nil
			check(rt, s, after, level, datagrams)
			before = after
		}
	})
}

func check(t *rapid.T, s *Shield, table prefilter.Table, level prefilter.Level, datagrams [][]byte) {
	full := table.Level() == prefilter.Clients && len(s.identifiers)*len(Bucket{}) < table.Identifiers.Len()
	if full && level != prefilter.Shape {
		t.Fatalf("level %s, although there is no room", level)
	}
	shape := table
	shape.Identifiers = nil
	for port := uint16(6); port <= 10; port++ {
		for _, d := range datagrams {
			want, got := table.Accepts(port, d) == verify.Authentic, verdict(s, port, d)
			_, has := table.Ports[port]
			switch {
			case want && !passes(got):
				t.Fatalf("%x at %d is refused by %s", d[:16], port, CountNames[got])
			case !has && got != CountOther:
				t.Fatalf("port %d is not in the table, but its datagrams count as %s", port, CountNames[got])
			case !want && got == CountRing && !(level == prefilter.Shape && shape.Accepts(port, d) == verify.Authentic):
				t.Fatalf("%x at %d passes, although the table refuses it", d[:16], port)
			case got == CountSocket && len(table.Ports[port]) <= RowPlaces:
				t.Fatalf("port %d goes to the socket, although its row has room", port)
			}
		}
	}
}

// TestMoreClientsThanRoom: then any client passes, and the level shows it, until a table
// has fewer clients. At half of the room, all fit.
func TestMoreClientsThanRoom(t *testing.T) {
	for _, buckets := range []int{1, 2, 16, 1024} {
		room := buckets * len(Bucket{})
		s := memory(t, sizes{1, 2, buckets})
		place := map[uint16][]schedule.Place{7: {{Minute: prefiltertest.Minute}}}
		many := make([]wire.Identifier, 2*room)
		for i := range many {
			many[i] = number(i)
		}
		for _, step := range []struct {
			n    int
			want prefilter.Level
		}{{room / 2, prefilter.Clients}, {room + 1, prefilter.Shape}, {2 * room, prefilter.Shape}, {room / 2, prefilter.Clients}, {0, prefilter.Clients}} {
			table := tableOf(0, place, prefilter.NewIdentifiers(many[:step.n]))
			if got := s.Set(table); got != step.want {
				t.Errorf("%d clients in room for %d: level %s, want %s", step.n, room, got, step.want)
			}
			for i, id := range many {
				c := verdict(s, 7, forged(wire.Knock{Identifier: id, Timestamp: prefiltertest.Start}))
				if want := i < step.n || step.want == prefilter.Shape; (c == CountRing) != want {
					t.Fatalf("%d of %d clients in room for %d: client %s: %s", step.n, len(many), room, id, CountNames[c])
				}
			}
		}
	}
}

// TestMillionClients: a reload that replaces a part of a million clients refuses all
// others, and accepts those that stay, at each moment.
func TestMillionClients(t *testing.T) {
	n := 1_000_000
	if testing.Short() || race.Enabled { // the detector finds nothing here
		n = 50_000
	}
	buckets := 1
	for buckets*len(Bucket{}) < 2*n {
		buckets *= 2
	}
	s := memory(t, sizes{1, 2, buckets})
	all := make([]wire.Identifier, n+n/100)
	for i := range all {
		x := i
		for b := range all[i] {
			all[i][b] = byte('!' + x%90)
			x /= 90
		}
	}
	place := map[uint16][]schedule.Place{7: {{Minute: prefiltertest.Minute}}}
	old := tableOf(0, place, prefilter.NewIdentifiers(all[:n]))
	next := tableOf(0, place, prefilter.NewIdentifiers(all[n/100:]))
	if level := s.Set(old); level != prefilter.Clients {
		t.Fatalf("level %s", level)
	}
	knock := func(id wire.Identifier) int {
		return verdict(s, 7, forged(wire.Knock{Identifier: id, Timestamp: prefiltertest.Start}))
	}
	stores := 0
	s.observe = func() {
		stores++
		if stores%16 > 0 {
			return
		}
		stays := all[n/100+stores*31%(n-n/100)]
		if c := knock(stays); c != CountRing {
			t.Fatalf("client %s is refused by %s", stays, CountNames[c])
		}
		if c := knock(wire.Identifier([]byte("~~~~"))); c != CountIdentifier {
			t.Fatalf("a stranger's knock counts as %s", CountNames[c])
		}
	}
	for _, table := range []prefilter.Table{prefilter.Wider(old, next), next} {
		if level := s.Set(table); level != prefilter.Clients {
			t.Fatalf("level %s", level)
		}
	}
	s.observe = nil
	if stores < n/50 {
		t.Errorf("%d stores", stores)
	}
	for i := 0; i < len(all); i += 7 {
		if c, want := knock(all[i]), i >= n/100; (c == CountRing) != want {
			t.Fatalf("client %d: %s", i, CountNames[c])
		}
	}
}

// TestMapChecksSizes: arrays that are too small, or missing, are an error.
func TestMapChecksSizes(t *testing.T) {
	for _, name := range []string{"settings", "ports", "rows", "identifiers", "filter", "counters", "control", "records", "shares", "wake"} {
		all := files(t, sizes{1, 2, 4})
		all[name].Close()
		delete(all, name)
		if s, err := Map(all); err == nil {
			s.Close()
			t.Errorf("mapped without %s", name)
		}
	}
	for _, n := range []sizes{{0, 2, 4}, {1, 3, 4}, {1, 2, 0}, {1 << 20, 2, 4}, {1, 2, 1 << 30}} {
		all := filesThatSay(t, sizes{1, 2, 4}, n)
		if s, err := Map(all); err == nil {
			s.Close()
			t.Errorf("mapped with sizes %v", n)
		}
	}
}

// TestCountsStay: the counters of a closed shield are its last ones.
func TestCountsStay(t *testing.T) {
	all := files(t, sizes{2, 2, 4})
	words := make([]byte, 2*counterSlots*8)
	for i := range 2 * counterSlots {
		words[i*8] = byte(i%counterSlots + 1)
	}
	if _, err := all["counters"].WriteAt(words, 0); err != nil {
		t.Fatal(err)
	}
	s, err := Map(all)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Counts()
	s.Close()
	s.Close()
	if s.Counts() != c || c[CountRing] != 2*(CountRing+1) {
		t.Errorf("%v, then %v", c, s.Counts())
	}
	for i, n := range c.Add(c) {
		if n != 2*c[i] {
			t.Errorf("%s: twice %d is %d", CountNames[i], c[i], n)
		}
	}
	if slices.Contains(CountNames[:], "") {
		t.Error("a counter without a name")
	}
}

package xdp

import (
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// program is the side of the kernel of the rings: the same memory, with other rights.
type program struct {
	*Shield
	records []Record
}

func programOf(s *Shield) *program {
	b := writable(s, "records")
	return &program{s, unsafe.Slice((*Record)(unsafe.Pointer(&b[0])), len(b)/int(unsafe.Sizeof(Record{})))}
}

// push puts a record into the ring of a processor, and returns false if that is full.
func (p *program) push(cpu int, r Record) bool {
	slots := uint64(len(p.records) / len(p.control))
	c := &p.control[cpu]
	head := c.Head.Load()
	if head-c.Tail.Load() == slots {
		return false
	}
	p.records[uint64(cpu)*slots+head%slots] = r
	c.Head.Store(head + 1)
	return true
}

// TestRingsLoseNothing: each record that fits arrives once, those of a processor in
// their order, whatever the numbers of processors and readers are.
func TestRingsLoseNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		processors, readers := rapid.IntRange(1, 5).Draw(rt, "processors"), rapid.IntRange(1, 3).Draw(rt, "readers")
		s := memory(t, sizes{processors, rapid.SampledFrom([]int{1, 2, 8}).Draw(rt, "slots"), 1})
		p := programOf(s)
		var rings []*Ring
		for n := range readers {
			rings = append(rings, s.Ring(n, readers))
		}
		pushed, got := make([]uint64, processors), make([]uint64, processors)
		read := func(n, limit int) bool {
			records := rings[n].Next(limit)
			if len(records) > limit {
				rt.Fatalf("%d records, the limit is %d", len(records), limit)
			}
			for i := range records {
				cpu := int(records[i].To)
				if cpu%readers != n || records[i].Arrival != got[cpu] {
					rt.Fatalf("reader %d: record %d of processor %d, want %d", n, records[i].Arrival, cpu, got[cpu])
				}
				got[cpu]++
			}
			if len(records) > 0 {
				rings[n].Release()
			}
			return len(records) > 0
		}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "push") {
				cpu := rapid.IntRange(0, processors-1).Draw(rt, "processor")
				if p.push(cpu, Record{To: uint16(cpu), Arrival: pushed[cpu]}) {
					pushed[cpu]++
				}
				continue
			}
			read(rapid.IntRange(0, readers-1).Draw(rt, "reader"), rapid.IntRange(1, 5).Draw(rt, "limit"))
		}
		for n := range rings {
			for read(n, 3) {
			}
			if !rings[n].Empty() {
				rt.Fatalf("reader %d: not empty", n)
			}
		}
		for cpu := range got {
			if got[cpu] != pushed[cpu] {
				rt.Fatalf("processor %d: %d of %d records", cpu, got[cpu], pushed[cpu])
			}
		}
	})
}

// TestSharesAreGivenBack: a record that was counted in the shares is taken from the same
// entries, and indexes out of range do nothing.
func TestSharesAreGivenBack(t *testing.T) {
	s := memory(t, sizes{2, 8, 1})
	p := programOf(s)
	p.push(1, Record{Counted: 1, Shares: [4]uint16{0, 1, 4095, 7}})
	p.push(1, Record{Counted: 1, Shares: [4]uint16{0, 4096, 65535, 7}})
	p.push(1, Record{Shares: [4]uint16{0, 1, 2, 3}})
	r := s.Ring(0, 1)
	if n := len(r.Next(64)); n != 3 {
		t.Fatalf("%d records", n)
	}
	r.Release()
	want := map[int]uint32{0: 2, 4096 + 1: 1, 2*4096 + 4095: 1, 3*4096 + 7: 2}
	for i := range s.shares {
		if got := s.shares[i].Taken.Load(); got != want[i-4*ShareEntries] {
			t.Errorf("entry %d: %d taken", i, got)
		}
	}
}

// TestHeadThatIsNoHead: numbers that the kernel never writes do no harm.
func TestHeadThatIsNoHead(t *testing.T) {
	s := memory(t, sizes{1, 4, 1})
	r := s.Ring(0, 1)
	for _, head := range []uint64{1 << 63, 1<<64 - 1, 5, 0, 3} {
		s.control[0].Head.Store(head)
		for range 9 {
			if n := len(r.Next(64)); n > 4 {
				t.Fatalf("%d records of 4", n)
			} else if n > 0 {
				r.Release()
			}
		}
	}
}

// TestSleep: a reader may wait only if no record has arrived before.
func TestSleep(t *testing.T) {
	s := memory(t, sizes{3, 4, 1})
	p, r := programOf(s), s.Ring(1, 2)
	p.push(0, Record{}) // of the other reader
	if !r.Sleep() || s.control[1].Sleeping.Load() != 1 || s.control[0].Sleeping.Load() != 0 {
		t.Error("does not sleep")
	}
	r.Awake()
	p.push(1, Record{})
	if r.Sleep() || s.control[1].Sleeping.Load() != 0 {
		t.Error("sleeps before a record")
	}
	produced := writable(s, "wake")[pageSize:]
	produced[0] = 24
	r.Woken()
	if got := s.wake.consumed.Load(); got != 24 {
		t.Errorf("consumed %d of 24", got)
	}
}

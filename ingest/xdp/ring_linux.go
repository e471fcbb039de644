package xdp

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Ring reads the rings of some processors. It belongs to one goroutine, its reader.
//
// The memory is shared with the kernel. A Ring checks each number before it uses it as
// an index, and keeps its own place in a ring.
type Ring struct {
	shield *Shield
	slots  uint64
	parts  []part
	next   int // the part that is read next
	taking int // the part of the records that Next has returned
	taken  int // the number of these records
}

// part is the ring of a processor.
type part struct {
	control *Control
	records []Record
	shares  []Share // four tables
	tail    uint64
}

// Ring returns what the n-th of several readers reads: the rings of the processors n,
// n+readers, n+2*readers and so on.
func (s *Shield) Ring(n, readers int) *Ring {
	slots := len(s.records) / len(s.control)
	r := &Ring{shield: s, slots: uint64(slots)}
	for cpu := n; cpu < len(s.control); cpu += readers {
		r.parts = append(r.parts, part{
			control: &s.control[cpu],
			records: s.records[cpu*slots : (cpu+1)*slots],
			shares:  s.shares[cpu*4*ShareEntries : (cpu+1)*4*ShareEntries],
			tail:    s.control[cpu].Tail.Load(),
		})
	}
	return r
}

// Next returns unread records of one processor, at most limit. They are valid until
// Release. After each call the next processor has its turn. It returns none if all
// rings are empty.
func (r *Ring) Next(limit int) []Record {
	for range r.parts {
		i := r.next
		if r.next++; r.next == len(r.parts) {
			r.next = 0
		}
		p := &r.parts[i]
		n := p.control.Head.Load() - p.tail
		if n == 0 {
			continue
		}
		from := p.tail & (r.slots - 1)
		n = min(n, uint64(limit), r.slots-from)
		r.taking, r.taken = i, int(n)
		return p.records[from : from+n]
	}
	return nil
}

// Release makes room for as many records as Next has returned.
func (r *Ring) Release() {
	p := &r.parts[r.taking]
	from := p.tail & (r.slots - 1)
	for i := range p.records[from : from+uint64(r.taken)] {
		record := &p.records[from+uint64(i)]
		if record.Counted != 1 {
			continue
		}
		for t, index := range record.Shares {
			if index < ShareEntries {
				p.shares[t*ShareEntries+int(index)].take()
			}
		}
	}
	p.tail += uint64(r.taken)
	p.control.Tail.Store(p.tail)
	r.taken = 0
}

// Empty reports whether no record is unread.
func (r *Ring) Empty() bool {
	for i := range r.parts {
		if r.parts[i].control.Head.Load() != r.parts[i].tail {
			return false
		}
	}
	return true
}

// Sleep makes the program wake this reader for the next record, and reports whether
// the reader may wait for that (File). It may not if there is a record already.
func (r *Ring) Sleep() bool {
	for i := range r.parts {
		r.parts[i].control.Sleeping.Store(1)
	}
	if r.Empty() {
		return true
	}
	r.Awake()
	return false
}

// Awake ends what Sleep began.
func (r *Ring) Awake() {
	for i := range r.parts {
		r.parts[i].control.Sleeping.Store(0)
	}
}

// File is readable when the program has woken any reader. It belongs to the Shield.
func (r *Ring) File() *os.File { return r.shield.wake.file }

// Woken must be called when File is readable; then it no longer is. Another reader may
// have been meant: the caller wakes all others that wait.
func (r *Ring) Woken() {
	w := &r.shield.wake
	w.consumed.Store(w.produced.Load())
}

// Monotonic returns the time of the clock of Record.Arrival.
func Monotonic() time.Duration {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail
	return time.Duration(now.Nano())
}

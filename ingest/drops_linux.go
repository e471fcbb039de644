package ingest

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"os"
	"strconv"
	"sync/atomic"
)

// drops classifies the kernel's drops at the sockets by their cause.
//
// At a socket the kernel has a single count (SK_MEMINFO_DROPS, the same as
// SO_RXQ_OVFL) of three causes: refused by the filter, a wrong checksum, a full
// queue. It counts full queues separately only for the whole network namespace
// (RcvbufErrors and MemErrors of UDP, in /proc/net/snmp and snmp6), which
// includes the queues of other programs. So between two readings, the number of
// our datagrams that found a full queue is at most the namespace's number. All
// other drops were certainly refused, or had a wrong checksum. While no queue
// overflows, the result is exact, except for a datagram that is being dropped at
// that instant. While a queue overflows, as many drops as the namespace counts
// can have either cause; if no other program's queue overflows, they are full
// queues.
//
// Without a filter no drop is a refusal: all are full queues.
type drops struct {
	refused, full atomic.Uint64 // a drop that is in neither can have either cause

	classified       uint64 // how many drops have been classified
	overflowsBefore  uint64 // the namespace's overflows at begin of the previous reading
	overflowsAtBegin uint64 // the same at begin of this reading
	knownBefore      bool   // overflowsBefore is known
	knownAtBegin     bool   // overflowsAtBegin is known

	text [64 << 10]byte // for the kernel's counters: up to 21 KiB, once it has received every type of ICMPv6
}

var errTooLong = errors.New("longer than expected")

// begin must be called before the drops of any socket are read.
func (d *drops) begin() { d.overflowsAtBegin, d.knownAtBegin = d.queueOverflows() }

// end must be called when the drops of all sockets have been read. total is the
// number of drops since the start.
func (d *drops) end(total uint64, unfiltered bool) {
	n := total - d.classified
	d.classified = total
	now, ok := d.queueOverflows()
	switch {
	case unfiltered:
		d.full.Add(n)
	case ok && d.knownBefore:
		d.refused.Add(n - min(n, now-d.overflowsBefore))
	}
	// A drop while the sockets are being read may be counted in this reading or
	// in the next one, so the next one includes all overflows since this begin.
	d.overflowsBefore, d.knownBefore = d.overflowsAtBegin, d.knownAtBegin
}

// queueOverflows returns how many datagrams have found a full UDP queue in the
// network namespace of the thread: tests have threads in other namespaces.
func (d *drops) queueOverflows() (n uint64, ok bool) {
	v4, err := d.read("/proc/thread-self/net/snmp")
	if err != nil {
		return 0, false
	}
	n, ok = fullQueues4(v4)
	v6, err := d.read("/proc/thread-self/net/snmp6")
	if err != nil {
		return n, ok && os.IsNotExist(err) // a host without IPv6
	}
	return n + fullQueues6(v6), ok
}

// read returns the text of a file, valid until the next call. It reuses one
// buffer, because it runs every second.
func (d *drops) read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, d.text[:])
	switch {
	case err == nil:
		return nil, errTooLong // the counter may be behind the end of the buffer
	case !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	}
	return d.text[:n], nil
}

// fullQueues4 parses /proc/net/snmp: pairs of lines, names and then values.
func fullQueues4(text []byte) (n uint64, ok bool) {
	var names []byte
	for line := range bytes.Lines(text) {
		switch {
		case !bytes.HasPrefix(line, []byte("Udp:")):
			continue
		case names == nil:
			names = line
			continue
		}
		next, stop := iter.Pull(bytes.FieldsSeq(line))
		defer stop()
		for name := range bytes.FieldsSeq(names) {
			value, more := next()
			if more && (string(name) == "RcvbufErrors" || string(name) == "MemErrors") {
				v, err := strconv.ParseUint(string(value), 10, 64)
				n, ok = n+v, err == nil
			}
		}
	}
	return n, ok
}

// fullQueues6 parses /proc/net/snmp6: a name and a value on each line.
func fullQueues6(text []byte) (n uint64) {
	for line := range bytes.Lines(text) {
		name, value, _ := bytes.Cut(line, []byte(" "))
		if string(name) == "Udp6RcvbufErrors" || string(name) == "Udp6MemErrors" {
			v, _ := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 64)
			n += v
		}
	}
	return n
}

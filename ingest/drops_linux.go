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

// drops divides what the kernel has dropped at the sockets by why.
//
// At a socket the kernel has one count for all (SK_MEMINFO_DROPS, the same as
// SO_RXQ_OVFL): refused by the filter, a wrong checksum, a full queue. Only for
// the whole network namespace does it count full queues on their own
// (RcvbufErrors and MemErrors of UDP, in /proc/net/snmp and snmp6), those of
// other programs among them. So between two looks, no more datagrams can have
// found a full queue of ours than all queues of the namespace have turned away:
// the rest was refused, for certain, or had a wrong checksum. While no queue
// overflows, that is exact, give or take a datagram that is being dropped at
// that instant. While one does, as many drops as the namespace has turned away
// are of either kind; if no other program's queue overflows, they are the full
// queues.
//
// Without a filter, no drop is a refusal: all are full queues.
type drops struct {
	refused, full atomic.Uint64 // what is in neither is of either kind

	divided   uint64 // how many drops have been divided
	turned    uint64 // by the full queues of the namespace, before the look before this one
	begun     uint64 // the same, before this look
	known     bool   // turned is known
	beginning bool   // begun is known

	text [64 << 10]byte // for what the kernel says: up to 21 KiB, when it has seen every type of ICMPv6
}

var errTooLong = errors.New("longer than expected")

// begin is called before any socket is asked for its drops.
func (d *drops) begin() { d.begun, d.beginning = d.turnedAway() }

// end is called when all have been asked, with all the drops since the start.
func (d *drops) end(total uint64, unfiltered bool) {
	n := total - d.divided
	d.divided = total
	now, ok := d.turnedAway()
	switch {
	case unfiltered:
		d.full.Add(n)
	case ok && d.known:
		d.refused.Add(n - min(n, now-d.turned))
	}
	// A drop that comes while the sockets are asked may be counted in this look
	// or in the next one: the next one reckons with all since this one began.
	d.turned, d.known = d.begun, d.beginning
}

// turnedAway is how many datagrams have found a full UDP queue in this network
// namespace: that of the thread, since tests have threads in others.
func (d *drops) turnedAway() (n uint64, ok bool) {
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

// read returns a file's text, until the next call: once a second, there is to be
// no garbage of it.
func (d *drops) read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, d.text[:])
	switch {
	case err == nil:
		return nil, errTooLong // the counter may be in what was left out
	case !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	}
	return d.text[:n], nil
}

// fullQueues4 reads a table of lines in pairs: names, and values.
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

// fullQueues6 reads a name and a value a line.
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

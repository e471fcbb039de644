// Package prefiltertest has the rows on which every tier of the knock rules
// must agree: Go, the BPF virtual machine, the kernel at a socket, the
// firewall. Each row is a port of a table; Packets are sent to it one by one.
// Only tests import it.
package prefiltertest

import (
	"encoding/binary"
	"fmt"

	"sallyport/ingest/prefilter"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Minute is the minute of most tables.
const Minute = schedule.Minute(29_000_000)

// Port is the port of the rows that do not set another one.
const Port uint16 = 20_000

// Row is a port of a table.
type Row struct {
	Name    string
	Table   prefilter.Table
	Clients []wire.Identifier // those of the table; nil: any
	Port    uint16
	Plain   verify.Reason // the rule that Plain(nil) breaks there, or Authentic
}

// Open reports whether the port accepts any knock. A tier that knows only ports,
// such as the firewall, accepts every packet to an open port, and no other.
func (r Row) Open() bool { return len(r.Table.Ports[r.Port]) > 0 }

// Want returns the first rule that a datagram to the port breaks, or Authentic.
// It implements the rules again, as simply as possible.
func (r Row) Want(datagram []byte) verify.Reason {
	if len(datagram) != 48 {
		return verify.Size
	}
	if string(datagram[:2]) != "PK" {
		return verify.Magic
	}
	sequence, maximum, id := int8(datagram[2]), int8(datagram[3]), wire.Identifier(datagram[4:8])
	if sequence < 0 || maximum < 0 || sequence > maximum {
		return verify.Malformed
	}
	for _, c := range id {
		if c < ' ' || c > '~' {
			return verify.Malformed
		}
	}
	if r.Table.Maximum != prefilter.AnyMaximum && maximum != r.Table.Maximum {
		return verify.Maximum
	}
	reason, timestamp := verify.Sequence, int64(binary.BigEndian.Uint32(datagram[8:]))
	for _, p := range r.Table.Ports[r.Port] {
		if p.Index != sequence || reason == verify.Authentic {
			continue
		}
		reason = verify.Minute
		if start := int64(p.Minute) * 60; timestamp >= start-2 && timestamp < start+60+2 {
			reason = verify.Authentic
		}
	}
	if reason != verify.Authentic || r.Clients == nil {
		return reason
	}
	for _, c := range r.Clients {
		if c == id {
			return verify.Authentic
		}
	}
	return verify.Identifier
}

// Rows returns all rows.
func Rows() []Row {
	at := func(minute schedule.Minute, index int8) []schedule.Place {
		return []schedule.Place{{Minute: minute, Index: index}}
	}
	one := at(Minute, 1)
	several := map[uint16][]schedule.Place{Port: one, Port + 1: at(Minute, 0), Port + 2: at(Minute-1, 1), Port + 3: {}}
	rows := []Row{
		singlePort("one minute, few clients", 2, one, 3, verify.Authentic),
		singlePort("no client", 2, one, 0, verify.Identifier),
		singlePort("a full leaf", 2, one, 8, verify.Authentic),
		singlePort("two leaves", 2, one, 9, verify.Authentic),
		singlePort("far jumps", 2, one, 1000, verify.Authentic),
		singlePort("as many clients as fit", 2, one, prefilter.MaxIdentifiers, verify.Authentic),
		singlePort("any client", 2, one, anyClient, verify.Authentic),
		singlePort("two minutes", 2, append(at(Minute-1, 0), one...), 2, verify.Authentic),
		singlePort("two minutes, one index", 2, append(at(Minute, 1), at(Minute+1, 1)...), 2, verify.Authentic),
		singlePort("six places", 2, []schedule.Place{
			{Minute: Minute - 1, Index: 0}, {Minute: Minute - 1, Index: 2}, {Minute: Minute, Index: 2},
			{Minute: Minute, Index: 0}, {Minute: Minute, Index: 1}, {Minute: Minute + 1, Index: 1},
		}, anyClient, verify.Authentic),
		singlePort("no place", 2, nil, 2, verify.Sequence),
		singlePort("another maximum", 127, one, 2, verify.Maximum),
		singlePort("any maximum", prefilter.AnyMaximum, one, 2, verify.Authentic),
		singlePort("any maximum, two places", prefilter.AnyMaximum, append(at(Minute-1, 0), one...),
			anyClient, verify.Authentic),
		singlePort("any maximum, the last index", prefilter.AnyMaximum, at(Minute, 127), 2, verify.Sequence),
		singlePort("the first minute of all", 2, at(0, 1), anyClient, verify.Minute),
		singlePort("the last minute of all", 2, at((1<<32-1)/60, 1), anyClient, verify.Minute),
		singlePort("before all time", 2, at(-9, 1), anyClient, verify.Minute),
	}
	for port, plain := range map[uint16]verify.Reason{
		Port: verify.Authentic, Port + 1: verify.Sequence, Port + 2: verify.Minute,
		Port + 3: verify.Sequence, Port + 4: verify.Sequence,
	} {
		r := singlePort(fmt.Sprintf("several ports, at %d", port), 2, nil, 3, plain)
		r.Table.Ports, r.Port = several, port
		rows = append(rows, r)
	}
	return rows
}

// anyClient stands for a table without identifiers.
const anyClient = -1

// singlePort returns a row whose table has one port.
func singlePort(name string, maximum int8, places []schedule.Place, clients int, plain verify.Reason) Row {
	ports := map[uint16][]schedule.Place{Port: places}
	r := Row{Name: name, Port: Port, Plain: plain, Table: prefilter.Table{Maximum: maximum, Ports: ports}}
	if clients != anyClient {
		r.Clients = Identifiers(clients)
		r.Table.Identifiers = prefilter.NewIdentifiers(r.Clients)
	}
	return r
}

// Identifiers returns n identifiers; the first two are com1 and com2.
func Identifiers(n int) []wire.Identifier {
	ids := []wire.Identifier{wire.Identifier([]byte("com1")), wire.Identifier([]byte("com2"))}
	for i := len(ids); i < n; i++ {
		ids = append(ids, wire.Identifier(fmt.Appendf(nil, "%04d", i)))
	}
	return ids[:n]
}

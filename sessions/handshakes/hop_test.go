package handshakes

import (
	"slices"
	"testing"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

var (
	hopKey   = schedule.HopKeyOf("port secret")
	hopStart = schedule.Minute(29_000_000)
)

// hopping makes a harness whose ports hop, with a tolerance of ten seconds, and a
// function that sets the second since hopStart.
func hopping(t *testing.T, change func(*challenge.Plan), list ...*exchange.Operation) (w *harness, at func(seconds int)) {
	t.Helper()
	p := plan
	p.Ports, p.Hop, p.NoIPv6 = challenge.Ports{First: 1024, Last: 65535}, 4096, true
	p.Response.Base = 40000
	if change != nil {
		change(&p)
	}
	w = newHarnessFor(t, p, func(c *Config) { c.Operations.SetHopping(hops()) }, list...)
	at = func(seconds int) { w.Turn(hopStart.Start().Add(time.Duration(seconds) * time.Second)) }
	return w, at
}

func hops() exchange.Hopping {
	return exchange.Hopping{
		Keys: func(schedule.Minute) []schedule.HopKey { return []schedule.HopKey{hopKey} }, Tolerance: 10 * time.Second,
	}
}

// in returns the ports of a message of the client in a minute.
func (p *testClient) in(m schedule.Minute, response bool) []uint16 {
	h := hopKey.Hop(m, p.w.plan.Hop)
	e, message := p.w.plan.Request, []byte(nil)
	if response {
		e, message = p.w.plan.Response, p.answer().Response
	} else {
		p.client.Hop(h)
		message = p.client.Request()
	}
	e.Base += h.Distance
	return p.ports(e, message)
}

// TestHop: a request gets a challenge while its minute is live, and not after; its
// response is in its minute's ports, whenever it comes.
func TestHop(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	for _, row := range []struct {
		name                   string
		request, end, response int // seconds
		minute                 schedule.Minute
		challenges, proofs     int
	}{
		{"within the minute", 10, 20, 30, 0, 1, 1},
		{"over the turn", 59, 61, 65, 0, 1, 1},
		{"the response after the tolerance", 59, 69, 3600, 0, 1, 1},
		{"the request ends after the tolerance", 69, 70, 71, 0, 0, 0},
		{"the client is ahead", 51, 52, 53, 1, 1, 1},
		{"the client is too far ahead", 45, 46, 47, 1, 0, 0},
		{"an old request", 200, 201, 202, 0, 0, 0},
		{"the clock is set back meanwhile", 200, 30, 31, 0, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, at := hopping(t, nil, o)
			p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
			request := p.in(hopStart+row.minute, false)
			at(row.request)
			p.send(request[:3])
			at(row.end)
			p.send(request[3:])
			if len(w.sent) != row.challenges {
				t.Fatalf("%d challenges", len(w.sent))
			}
			if row.challenges == 0 {
				return
			}
			at(row.response)
			p.send(p.in(hopStart+row.minute, true))
			if len(w.proofs) != row.proofs {
				t.Errorf("%d proofs", len(w.proofs))
			}
		})
	}
}

// TestHopOfAnotherMinute: the ports that the response would have in another minute are
// wrong packets, which end the exchange.
func TestHopOfAnotherMinute(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w, at := hopping(t, nil, o)
	p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
	at(55)
	p.send(p.in(hopStart, false))
	right := p.in(hopStart, true)
	p.send(p.in(hopStart+1, true)[:1])
	p.send(right)
	if len(w.proofs) != 0 || w.Stats()[Refused] == 0 {
		t.Errorf("%d proofs, %v", len(w.proofs), w.Stats())
	}
}

// TestHopAndUpdate: operations that are replaced at the turn of a minute accept the
// requests of the minutes that are live, from the next packet on.
func TestHopAndUpdate(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w, at := hopping(t, nil, o)
	at(61)
	next, err := exchange.NewOperations([]*exchange.Operation{o}, w.plan)
	if err != nil {
		t.Fatal(err)
	}
	next.SetHopping(hops())
	w.Update(next)
	for i, m := range []schedule.Minute{hopStart, hopStart + 1} {
		p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000+uint16(i)))
		p.send(p.in(m, false))
		p.send(p.in(m, true))
		if len(w.proofs) != i+1 {
			t.Errorf("minute %d: %d proofs", m, len(w.proofs))
		}
	}
	// Without keys, the ports are those of no request.
	none, err := exchange.NewOperations([]*exchange.Operation{o}, w.plan)
	if err != nil {
		t.Fatal(err)
	}
	w.Update(none)
	p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(6000))
	p.send(p.in(hopStart+1, false))
	p.send(p.requestPorts())
	if len(w.sent) != 2 {
		t.Errorf("%d challenges", len(w.sent))
	}
}

// TestHopWithSharedPorts: with shared ports, a response of one minute can have the ports
// of requests of another. A request of the next minute from the same address and port
// ends no exchange that has begun.
func TestHopWithSharedPorts(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	for range 50 {
		w, at := hopping(t, func(p *challenge.Plan) {
			p.Shared, p.Hop = true, 300
			p.Request.DataBits, p.Response.DataBits, p.Response.Base = 11, 11, p.Request.Base
		}, o)
		p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
		at(55)
		request := p.in(hopStart, false)
		p.send(request)
		response := p.in(hopStart, true)
		other := w.newClient(o, "10.0.0.8", "203.0.113.9", fixed(5000))
		begun := other.in(hopStart+1, false)[:4]
		p.send(response[:2])
		p.send(request) // late duplicates, which draw another challenge
		if meet(slices.Concat(request, begun), response) || meet(begun, p.in(hopStart, true)) {
			continue // they are packets of a response, too, and end the other one
		}
		other.send(begun)
		p.send(response[2:])
		if len(w.proofs) != 1 {
			t.Fatalf("%d proofs, %v", len(w.proofs), w.Stats())
		}
	}
}

// TestTurnAllocatesNothing within a minute, for each batch of packets.
func TestTurnAllocatesNothing(t *testing.T) {
	w, at := hopping(t, nil, operation(t, "ssh-alice", exchange.NATAware, false))
	at(10)
	p := w.newClient(w.operations.List()[0], "10.0.0.7", "203.0.113.9", fixed(5000))
	ports := p.in(hopStart, false)
	if n := testing.AllocsPerRun(100, func() {
		at(20)
		p.send(ports[:3])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// meet reports whether two lists have a port in common.
func meet(a, b []uint16) bool {
	return slices.ContainsFunc(a, func(port uint16) bool { return slices.Contains(b, port) })
}

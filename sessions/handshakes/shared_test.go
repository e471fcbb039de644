package handshakes

import (
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/challenge/paper"
)

// sharedPlans are the plans of the paper's rows with shared ports, and plans with
// restarts, with two encodings, and with ranges that overlap in part.
func sharedPlans() []challenge.Plan {
	wide := challenge.Ports{First: 1, Last: 65535}
	plans := []challenge.Plan{
		{Request: challenge.Encoding{Scheme: challenge.Ranges, Base: 20000, DataBits: 8}, Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 20000, DataBits: 8}},
		{Request: challenge.Encoding{Scheme: challenge.Ranges, Base: 20000, DataBits: 9, Restart: 8}, Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 20000, DataBits: 9, Restart: 8}},
		{Request: challenge.Encoding{Scheme: challenge.Sequence, Base: 20000, DataBits: 8, SequenceBits: 5}, Response: challenge.Encoding{Scheme: challenge.Differences, Base: 20001, DataBits: 9}},
		{Request: challenge.Encoding{Scheme: challenge.Differences, Base: 20000, DataBits: 10}, Response: challenge.Encoding{Scheme: challenge.Sequence, Base: 24000, DataBits: 8, SequenceBits: 5}},
	}
	for i := range plans {
		plans[i].Ports, plans[i].Shared = wide, true
	}
	for _, row := range paper.Rows() {
		if p, err := row.Plan(false); err == nil && p.Shared {
			plans = append(plans, p)
		}
	}
	return plans
}

// requested is a client that has sent its request to a new table.
func requested(t testing.TB, plan challenge.Plan, nat func() uint16) (w *harness, p *testClient, request []uint16) {
	t.Helper()
	o := operation(t, paper.ID, exchange.NATAware, false)
	w = newHarnessFor(t, plan, func(c *Config) { c.Slots = 64 }, o)
	p = w.newClient(o, "10.0.0.7", victim, nat)
	request = p.requestPorts()
	p.receive(inOrder(plan.Request, request))
	if len(w.sent) != 1 {
		t.Fatalf("%+v: %d challenges", plan, len(w.sent))
	}
	return w, p, request
}

// inOrder returns the arrivals of a message that is delivered as it was sent.
func inOrder(e challenge.Encoding, ports []uint16) (all []arrival) {
	for i, port := range ports {
		all = append(all, arrival{port, time.Duration(i) * max(e.Delay, 100*time.Microsecond)})
	}
	return all
}

// TestSharedPortsSurvive: any packets of the request, at any moment of the response
// and any number of times, change nothing; in any order that the scheme survives.
func TestSharedPortsSurvive(t *testing.T) {
	plans := sharedPlans()
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		plan := rapid.SampledFrom(plans).Draw(t, "plan")
		nat := fixed(5000)
		if rapid.Bool().Draw(t, "symmetric") {
			nat = symmetric(5000)
		}
		w, p, request := requested(outer, plan, nat)
		response := p.responsePorts()
		for _, port := range response {
			if slices.Contains(request, port) {
				t.Fatalf("port %d is of the request and of the response", port)
			}
		}
		all := inOrder(plan.Response, response)
		end := all[len(all)-1].at
		if plan.Response.Scheme != challenge.Delays && plan.Response.Restart == 0 {
			for i := range all {
				all[i].at = time.Duration(rapid.IntRange(0, int(end)).Draw(t, "arrives"))
			}
			for _, again := range rapid.SliceOfN(rapid.IntRange(0, len(response)-1), 0, 10).Draw(t, "duplicates") {
				all = append(all, arrival{response[again], time.Duration(rapid.IntRange(0, int(end)).Draw(t, "again"))})
			}
		}
		for _, late := range rapid.SliceOfN(rapid.IntRange(0, len(request)-1), 0, 3*len(request)).Draw(t, "late") {
			all = append(all, arrival{request[late], time.Duration(rapid.IntRange(0, int(end)).Draw(t, "at"))})
		}
		p.receive(all)
		if len(w.proofs) != 1 {
			t.Fatalf("%+v: proofs %v, %v", plan, w.proofs, w.Stats())
		}
	})
}

// TestSharedPortsEndGuesses: the bound of PROTOCOL.md. An exchange tolerates as many
// packets of other requests as its own request has, and no other wrong packet.
func TestSharedPortsEndGuesses(t *testing.T) {
	for _, plan := range sharedPlans() {
		requests, _, err := plan.Codecs(paper.Request4, exchange.ResponseSize)
		if err != nil {
			t.Fatal(err)
		}
		w, p, request := requested(t, plan, fixed(5000))
		response := p.responsePorts()
		// The attacker has the client's address and port, and knows the operation:
		// it begins another request, and then tries ports.
		tried := 0
		for port := range requests.Ports().Last {
			if !w.operations.IsResponse(port) || slices.Contains(request, port) || slices.Contains(response, port) {
				continue
			}
			w.Receive(p.source(), netip.AddrPortFrom(server, port), w.now)
			if tried++; w.Stats()[Refused] > 0 {
				break
			}
		}
		if limit := requests.Packets() + 1; tried > limit || w.Stats()[Refused] == 0 {
			t.Errorf("%+v: %d of at most %d wrong packets did not end the exchange", plan, tried, limit)
		}
		p.receive(inOrder(plan.Response, response))
		if len(w.proofs) != 0 {
			t.Errorf("%+v: proofs %v after wrong packets", plan, w.proofs)
		}
	}
}

// TestSharedPortsKeepRequests: one whole request for the same operation, from the
// same port and while the response arrives, does not end the exchange: neither the
// same request again, any number of times, nor one with another nonce.
func TestSharedPortsKeepRequests(t *testing.T) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		plan := sharedPlans()[0]
		o := operation(t, paper.ID, a, false)
		for name, nat := range map[string]func() uint16{"one port": fixed(5000), "symmetric": symmetric(5000)} {
			for begun := 1; begun < exchange.ResponseSize; begun++ {
				w := newHarnessFor(t, plan, func(c *Config) { c.Slots = 64 }, o)
				self := "10.0.0.7"
				if a == exchange.Unilateral {
					self = victim
				}
				p := w.newClient(o, self, victim, nat)
				request := p.requestPorts()
				p.send(request)
				response := p.responsePorts()
				p.send(response[:begun])
				other := w.newClient(o, self, victim, nat)
				foreign := other.requestPorts()
				// A port can be of the other request and of the response: then
				// its position in the response is taken, or it is right.
				foreign = slices.DeleteFunc(foreign, func(port uint16) bool { return slices.Contains(response, port) })
				p.send(foreign)
				for range 5 {
					p.send(request)
				}
				p.send(response[begun:])
				if len(w.proofs) != 1 {
					t.Errorf("algorithm %d, %s, after %d packets: proofs %v, %v", a, name, begun, w.proofs, w.Stats())
				}
			}
		}
	}
}

// TestSharedPortsGuessing: an attacker with the client's address that sends to all
// ports of responses, in any order, completes no exchange that it requests. It would,
// if wrong packets did not end the exchange, with every scheme that survives any order.
func TestSharedPortsGuessing(t *testing.T) {
	for _, plan := range sharedPlans() {
		o := operation(t, paper.ID, exchange.Mutual, false)
		_, responses, err := plan.Codecs(o.RequestSize(false), exchange.ResponseSize)
		if err != nil {
			continue // the request of Algorithm 3 is too long for this row
		}
		w := newHarnessFor(t, plan, func(c *Config) { c.Slots = 64 }, o)
		for round := range 2 {
			p := w.newClient(o, attacker, attacker, fixed(uint16(5000+round)))
			request := p.requestPorts()
			p.receive(inOrder(plan.Request, request))
			for _, i := range mrand.Perm(int(responses.Last()-responses.First()) + 1) {
				p.w.Receive(p.source(), netip.AddrPortFrom(server, responses.First()+uint16(i)), w.now)
			}
			w.now = w.now.Add(time.Minute)
		}
		if len(w.proofs) != 0 || len(w.sent) < 2 {
			t.Errorf("%+v: proofs %v, %d challenges", plan, w.proofs, len(w.sent))
		}
	}
}

// TestTooNarrowToShare: plans in which few responses have no port of the request are
// rejected, and in all others the server finds a nonce within a few draws.
func TestTooNarrowToShare(t *testing.T) {
	for bits := 1; bits <= 12; bits++ {
		for _, scheme := range []challenge.Scheme{challenge.Differences, challenge.Ranges, challenge.Delays} {
			e := challenge.Encoding{Scheme: scheme, Base: 1, DataBits: bits}
			if scheme == challenge.Delays {
				e.Delay = time.Millisecond
			}
			plan := challenge.Plan{Request: e, Response: e, Ports: challenge.Ports{First: 1, Last: 65535}, Shared: true, NoIPv6: true}
			o := operation(t, paper.ID, exchange.NATAware, false)
			all, err := exchange.NewOperations([]*exchange.Operation{o}, plan)
			if err != nil {
				continue
			}
			draws, want := countDraws(t, o, all, plan), 0.5
			if share := 1 / draws; share < want {
				t.Errorf("%s, %d bits: %.2f of the responses are usable, want %.2f", scheme, bits, share, want)
			}
			if bits <= 5 {
				t.Errorf("%s: %d bits are accepted", scheme, bits)
			}
		}
	}
}

// countDraws returns how many nonces are drawn on average for a challenge.
func countDraws(t *testing.T, o *exchange.Operation, all *exchange.Operations, plan challenge.Plan) float64 {
	t.Helper()
	const rounds = 200
	draws := 0
	w := newHarnessFor(t, plan, func(c *Config) {
		c.Operations, c.Slots = all, 64
		c.Random = readerFunc(func(b []byte) (int, error) {
			if len(b) == exchange.NonceSize {
				draws++
			}
			return rand.Read(b)
		})
	}, o)
	for range rounds {
		p := w.newClient(o, fmt.Sprintf("10.%d.%d.7", mrand.IntN(256), mrand.IntN(256)), anyAddress().String(), fixed(5000))
		p.receive(inOrder(plan.Request, p.requestPorts()))
		w.now = w.now.Add(20 * time.Second)
	}
	if n := w.Stats()[Answered]; n != rounds {
		t.Fatalf("%+v: %d of %d requests were answered", plan, n, rounds)
	}
	return float64(draws) / rounds
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestNothingIsAllocatedForSharedPorts: nor for packets that are compared with the
// request, nor for the nonces that are drawn again.
func TestNothingIsAllocatedForSharedPorts(t *testing.T) {
	for _, plan := range sharedPlans() {
		w, p, request := requested(t, plan, fixed(5000))
		response := p.responsePorts()
		w.cfg.Answer = func(netip.AddrPort, netip.AddrPort, []byte) error { return nil }
		for _, ports := range [][]uint16{request, response[:3], {request[0] + 1}} {
			if n := testing.AllocsPerRun(50, func() {
				for _, port := range ports {
					w.Receive(p.source(), netip.AddrPortFrom(server, port), w.now)
				}
			}); n != 0 {
				t.Errorf("%+v: %v allocations", plan, n)
			}
		}
	}
}

package carriers

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"sallyport/bench/clock"
	"sallyport/bench/flood"
	"sallyport/bench/scenario"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// clientPort is the source port of all honest clients of DNS.
const clientPort = 40_000

// asking is an honest exchange over DNS that waits for its challenge.
type asking struct {
	initiator *exchange.Initiator
	at        int // index of its attempt
	from      netip.AddrPort
}

// playDNS plays a scenario of DNS: all frames go through one packet socket, in one
// order. A response, which depends on the challenge, is sent as the next honest frame.
func (w *testbed) playDNS(ctx context.Context, s Scenario, window time.Duration) (out outcome, err error) {
	stream := flood.Stream{For: window + inTime}
	waiting := map[uint16]asking{}
	var stamps []int // the attempt of each honest frame; -1: a knock
	out.attempts = make([]attempt, exchanges)
	for i := range exchanges {
		x := carrier.Exchange(rand.Uint64()) & carrier.MaxExchange
		initiator, m, err := s.initiator(w.operation, netip.Addr{}, netip.Addr{}, x)
		if err != nil {
			return out, err
		}
		q, err := query(m.AppendLabel(nil, 0))
		if err != nil {
			return out, err
		}
		id := uint16(i) // each client has its own
		binary.BigEndian.PutUint16(q, id)
		source := netip.AddrPortFrom(from(firstClient, i), clientPort)
		waiting[id] = asking{initiator, i, source}
		out.attempts[i].exchange = x
		stream.Honest = append(stream.Honest, w.away.Link.Frame(source, dnsPort, q))
		stamps = append(stamps, i)
		if i%(exchanges/knockers) == 0 {
			knock, err := w.knock(i / (exchanges / knockers))
			if err != nil {
				return out, err
			}
			source := netip.AddrPortFrom(from(firstKnocker, i/(exchanges/knockers)), clientPort)
			stream.Honest = append(stream.Honest, w.away.Link.Frame(source, knock.Port, knock.Payload))
			stamps = append(stamps, -1)
		}
	}
	// A request, its response and the knocks are spread over the window.
	honest := float64(len(stream.Honest)+exchanges) / window.Seconds()
	stream.Every, stream.Rate = 1, honest
	if s.Rate > 0 {
		queries, err := s.queries()
		if err != nil {
			return out, err
		}
		for _, q := range queries {
			stream.Flood = append(stream.Flood, w.away.Link.Frame(anySource(), dnsPort, q))
		}
		stream.Every = max(int(s.Rate/honest), 1)
		stream.Rate += s.Rate
	}
	var socket *net.UDPConn
	if err := w.away.Host.Do(func() (err error) {
		socket, err = net.ListenUDP("udp4", &net.UDPAddr{Port: clientPort})
		return err
	}); err != nil {
		return out, fmt.Errorf("open the clients' socket: %w", err)
	}
	replies := make(chan []byte, exchanges)
	stream.Replies = replies
	visitors := w.visitors()
	var reading sync.WaitGroup
	came := make([]int64, exchanges) // when each challenge came
	reading.Go(func() {
		var b [2048]byte
		for {
			n, err := socket.Read(b[:])
			if err != nil {
				return
			}
			id, challenge, ok := answered(b[:n])
			a, known := waiting[id]
			if !ok || !known {
				continue
			}
			answer, err := a.initiator.Answer(challenge)
			if err != nil {
				continue
			}
			delete(waiting, id)
			came[a.at] = clock.Monotonic()
			m, err := carrier.New(carrier.Response, out.attempts[a.at].exchange, answer.Response)
			if err != nil {
				continue
			}
			if q, err := query(m.AppendLabel(nil, 0)); err == nil {
				replies <- w.away.Link.Frame(a.from, dnsPort, q)
			}
			if a.at%(exchanges/visits) == 0 {
				visitors.visit(from(firstClient, a.at))
			}
		}
	})
	begin := time.Now()
	sent, err := w.away.Play(ctx, w.cores[len(w.cores)-1], stream)
	seconds := time.Since(begin).Seconds()
	socket.Close()
	reading.Wait()
	if err != nil {
		return out, err
	}
	out.visits = visitors.wait()
	for frame, i := range stamps {
		at := sent.Honest[frame]
		switch {
		case at == 0:
		case i < 0:
			out.knocks++
		default:
			out.attempts[i].began = at
			if came[i] > 0 {
				out.attempts[i].took = time.Duration(came[i] - at)
			}
		}
	}
	if s.Rate > 0 {
		out.frames = (float64(sent.Frames) - float64(len(stream.Honest)+exchanges)) / seconds
	}
	return out, nil
}

// knock makes the next knock of a client.
func (w *testbed) knock(i int) (scenario.Shot, error) {
	shots, err := scenario.Knocks(w.server.Profiles[i], time.Now(), w.nonces[i])
	if err != nil {
		return scenario.Shot{}, err
	}
	w.nonces[i]++
	return shots[0], nil
}

// anySource returns a random address that neither host has.
func anySource() netip.AddrPort {
	n := rand.Uint32()
	a := netip.AddrFrom4([4]byte{20 + byte(n>>24)%100, byte(n >> 16), byte(n >> 8), byte(n)})
	return netip.AddrPortFrom(a, uint16(1024+rand.IntN(60000)))
}

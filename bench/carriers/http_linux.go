package carriers

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"sallyport/bench/clock"
	"sallyport/verify/challenge/carrier"
)

const (
	connections = 64 // of a flood, which are kept
	tick        = time.Millisecond
	latest      = 20 * tick // a delay that the flood makes up for
	onceOpen    = 512       // connections of a flood that makes a new one for each request
)

// stream writes the requests of a flood, and those of honest clients among them.
type stream struct {
	steps  chan func() // the next writes of honest clients
	starts chan func() // the first steps of honest clients, in turn
	rate   float64     // of all requests
	every  int         // requests of the flood between two of honest clients
	left   int
	write  func() // a request of the flood; nil: none
	sent   uint64
}

// play writes until the end.
func (s *stream) play(ctx context.Context, end time.Time) {
	each := max(int(s.rate*tick.Seconds()), 1)
	due := time.Now()
	for ctx.Err() == nil {
		now := time.Now()
		if now.After(end) {
			return
		}
		if now.Before(due) {
			time.Sleep(due.Sub(now))
			continue
		}
		for range each {
			s.next()
		}
		due = maxTime(due, now.Add(-latest)).Add(time.Duration(float64(each) / s.rate * float64(time.Second)))
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// next writes a request of the flood, or lets an honest client write.
func (s *stream) next() {
	if s.left == 0 || s.write == nil {
		s.left = 1 + rand.IntN(max(2*s.every-1, 1))
		select {
		case step := <-s.steps: // of a client that has begun
			step()
			return
		default:
		}
		select {
		case start := <-s.starts:
			start()
		default:
			s.left = 0
		}
		if s.write == nil {
			return
		}
	}
	s.write()
	s.sent++
	s.left = max(s.left-1, 0)
}

// playHTTP plays a scenario of HTTP.
func (w *testbed) playHTTP(ctx context.Context, s Scenario, window time.Duration) (out outcome, err error) {
	// A start, a request and a response of each exchange; a start and a request of each visit; a knock.
	const turns = 3*exchanges + 2*visits + knockers
	honest := turns / window.Seconds()
	p := &stream{steps: make(chan func(), turns), starts: make(chan func(), turns), rate: honest + s.Rate, every: max(int(s.Rate/honest), 1)}
	stop := func() {}
	if s.Rate > 0 {
		if p.write, stop, err = w.attack(s); err != nil {
			return out, err
		}
	}
	out.attempts = make([]attempt, exchanges)
	visitors := w.visitors()
	visitors.steps = p.steps
	var clients sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for i := range exchanges {
		p.starts <- func() {
			clients.Go(func() {
				a, err := w.exchange(s, from(firstClient, i), p.steps)
				mu.Lock()
				defer mu.Unlock()
				out.attempts[i] = a
				if failed == nil {
					failed = err
				}
			})
		}
		if i%(exchanges/visits) == 0 {
			p.starts <- func() { visitors.visit(from(firstClient, i)) }
		}
		if i%(exchanges/knockers) == 0 {
			k := i / (exchanges / knockers)
			knock, err := w.knock(k)
			if err != nil {
				return out, err
			}
			socket, err := w.udp(from(firstKnocker, k))
			if err != nil {
				return out, err
			}
			defer socket.Close()
			p.starts <- func() {
				socket.WriteToUDPAddrPort(knock.Payload, netip.AddrPortFrom(serverAddress, knock.Port))
				out.knocks++
			}
		}
	}
	begin := time.Now()
	p.play(ctx, begin.Add(window+inTime))
	seconds := time.Since(begin).Seconds()
	stop()
	done := make(chan struct{})
	go func() {
		clients.Wait()
		visitors.tasks.Wait()
		close(done)
	}()
	for open := true; open; { // the clients that are left
		select {
		case step := <-p.steps:
			step()
		case <-done:
			open = false
		}
	}
	out.visits = visitors.wait()
	out.frames = float64(p.sent) / seconds
	return out, failed
}

// exchange makes an exchange over a connection. Its requests are written by steps.
func (w *testbed) exchange(s Scenario, self netip.Addr, steps chan<- func()) (a attempt, err error) {
	a.exchange = carrier.Exchange(rand.Uint64()) & carrier.MaxExchange
	initiator, m, err := s.initiator(w.operation, self, serverAddress, a.exchange)
	if err != nil {
		return a, err
	}
	a.began = clock.Monotonic()
	c, err := w.dial(self)
	if err != nil {
		return a, nil // not in time
	}
	defer c.Close()
	body, waited := write(c, steps, get(string(m.AppendPath(nil, 0, m.Numbers()))))
	a.began += int64(waited)
	if body == nil {
		return a, nil
	}
	challenge, reason := carrier.ParsePage(nil, body)
	if reason != carrier.Accepted {
		return a, nil
	}
	a.took = time.Duration(clock.Monotonic() - a.began)
	answer, err := initiator.Answer(challenge)
	if err != nil {
		return a, err
	}
	response, err := carrier.New(carrier.Response, a.exchange, answer.Response)
	if err != nil {
		return a, err
	}
	_, waited = write(c, steps, get(string(response.AppendPath(nil, 0, response.Numbers()))))
	a.began += int64(waited)
	return a, nil
}

// dial connects from an address of the other host.
func (w *testbed) dial(self netip.Addr) (c net.Conn, err error) {
	err = w.away.Host.Do(func() (err error) {
		d := net.Dialer{Timeout: inTime, LocalAddr: &net.TCPAddr{IP: self.AsSlice()}}
		c, err = d.Dial("tcp4", netip.AddrPortFrom(serverAddress, httpPort).String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(inTime))
}

// udp opens a socket at an address of the other host.
func (w *testbed) udp(self netip.Addr) (c *net.UDPConn, err error) {
	err = w.away.Host.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: self.AsSlice()})
		return err
	})
	return c, err
}

// attack opens the connections of a flood.
func (w *testbed) attack(s Scenario) (write, stop func(), err error) {
	requests, err := s.requests()
	if err != nil {
		return nil, nil, err
	}
	next := 0
	if s.fresh {
		return w.attackFresh(requests)
	}
	var all []net.Conn
	var reading sync.WaitGroup
	stop = func() {
		for _, c := range all {
			c.Close()
		}
		reading.Wait()
	}
	for i := range connections {
		c, err := w.dial(from(firstAttacker, i%attackers))
		if err != nil {
			stop()
			return nil, nil, err
		}
		c.SetDeadline(time.Time{})
		all = append(all, c)
		reading.Go(func() { io.Copy(io.Discard, c) })
	}
	return func() {
		// A connection that the server has closed loses its requests.
		all[next%connections].Write(requests[next%variety])
		next++
	}, stop, nil
}

// attackFresh opens a connection for each request.
func (w *testbed) attackFresh(requests [][]byte) (write, stop func(), err error) {
	open := make(chan struct{}, onceOpen)
	var all sync.WaitGroup
	next := 0
	return func() {
		select {
		case open <- struct{}{}:
		default:
			return // as many as an attacker has
		}
		request, self := requests[next%variety], from(firstAttacker, next%attackers)
		next++
		all.Go(func() {
			defer func() { <-open }()
			c, err := w.dial(self)
			if err != nil {
				return
			}
			defer c.Close()
			c.Write(request)
			io.ReadFull(c, make([]byte, 12))
		})
	}, all.Wait, nil
}

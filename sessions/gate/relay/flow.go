package relay

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// flow is what goes between one port of a client and the upstream.
type flow struct {
	relay  *UDP
	socket *socket
	client netip.AddrPort
	answer []byte       // the control message with which answers leave
	last   atomic.Int64 // when a datagram came, since the relay began
	queue  chan []byte  // what came before the upstream was found

	mu   sync.Mutex
	up   *net.UDPConn // nil: not found yet
	over bool
}

func (f *flow) touch() { f.last.Store(int64(time.Since(f.relay.began))) }

// ask sends what the client said. It may be lost, as datagrams may.
func (f *flow) ask(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.over:
	case f.up != nil:
		f.up.Write(b) // an ICMP error of an earlier one is no reason to end
	default:
		select {
		case f.queue <- bytes.Clone(b):
		default:
		}
	}
}

// run finds the upstream, and carries its answers until the flow is over.
func (f *flow) run(upstream string) {
	defer f.relay.ended.Done()
	defer func() {
		f.relay.mu.Lock()
		defer f.relay.mu.Unlock()
		f.relay.end(f)
	}()
	if err := f.connect(upstream); err != nil {
		f.relay.cfg.Log.Debug("no way to the upstream", "upstream", upstream, "error", err)
		return
	}
	buffer := make([]byte, readBuffer)
	for {
		silent := time.Since(f.relay.began) - time.Duration(f.last.Load())
		if silent >= f.relay.cfg.Idle {
			return
		}
		if f.up.SetReadDeadline(time.Now().Add(f.relay.cfg.Idle-silent)) != nil {
			return
		}
		n, err := f.up.Read(buffer)
		var timeout net.Error
		switch {
		case err == nil:
			f.touch()
			f.socket.write(buffer[:n], f.client, f.answer)
		case errors.Is(err, net.ErrClosed):
			return
		case errors.As(err, &timeout) && timeout.Timeout():
		default:
			// ICMP says that nobody is there: he may come back.
			time.Sleep(pause)
		}
	}
}

// connect finds the upstream, and sends it what has come meanwhile.
func (f *flow) connect(upstream string) error {
	c, err := net.DialTimeout("udp", upstream, dialTimeout)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.up = c.(*net.UDPConn)
	if f.over {
		f.up.Close()
		return net.ErrClosed
	}
	for {
		select {
		case b := <-f.queue:
			f.up.Write(b)
		default:
			return nil
		}
	}
}

// stop ends the flow, without waiting for run.
func (f *flow) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	if f.up != nil {
		f.up.Close()
	}
}

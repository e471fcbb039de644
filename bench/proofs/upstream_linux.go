package proofs

import (
	"io"
	"net"
	"sync/atomic"
)

// The first byte of a connection: what the upstream does.
const (
	echo     = 'e' // returns the byte, and waits for the end
	download = 'd' // sends without end
	upload   = 'u' // receives without end
)

// chunk is how many bytes of a bulk connection are read or written at a time.
const chunk = 128 << 10

// upstream is the program behind both services.
type upstream struct {
	listener net.Listener
	received atomic.Uint64 // bytes of uploads
}

func startUpstream(address string) (*upstream, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	u := &upstream{listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go u.serve(c)
		}
	}()
	return u, nil
}

func (u *upstream) serve(c net.Conn) {
	defer c.Close()
	var first [1]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		return
	}
	switch first[0] {
	case echo:
		if _, err := c.Write(first[:]); err == nil {
			c.Read(first[:])
		}
	case download:
		send(c)
	case upload:
		receive(c, &u.received)
	}
}

// send writes until the connection ends.
func send(c net.Conn) {
	b := make([]byte, chunk)
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// receive reads until the connection ends, and counts the bytes.
func receive(c net.Conn, count *atomic.Uint64) {
	b := make([]byte, chunk)
	for {
		n, err := c.Read(b)
		count.Add(uint64(n))
		if err != nil {
			return
		}
	}
}

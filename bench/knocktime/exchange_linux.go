package knocktime

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/verify/challenge"
)

// messages are the messages of an exchange, with the lengths of Algorithm 2 and
// random contents.
type messages struct {
	request, challenge, response []byte
	requestPorts, responsePorts  []uint16
}

// codecs are the codecs of an encoding for the two messages sent by knocks.
type codecs struct{ request, response *challenge.Codec }

func newCodecs(e challenge.Encoding) (c codecs, err error) {
	if c.request, err = e.Codec(requestBytes); err != nil {
		return c, fmt.Errorf("encode the request: %w", err)
	}
	if c.response, err = e.Codec(responseBytes); err != nil {
		return c, fmt.Errorf("encode the response: %w", err)
	}
	return c, nil
}

func (c codecs) draw() (m messages, err error) {
	if m.request, m.requestPorts, err = draw(c.request, requestBytes-4, clientAddress.AsSlice()); err != nil {
		return m, fmt.Errorf("encode a request: %w", err)
	}
	if m.response, m.responsePorts, err = draw(c.response, responseBytes, nil); err != nil {
		return m, fmt.Errorf("encode a response: %w", err)
	}
	m.challenge = append(clientAddress.AsSlice(), make([]byte, challengeBytes-4)...)
	rand.Read(m.challenge[4:])
	return m, nil
}

// draw draws a random message and appends the rest to it. It draws again if a
// packet would go to port 0, to which the kernel does not send. That is rare.
func draw(c *challenge.Codec, random int, rest []byte) (message []byte, ports []uint16, err error) {
	for range 100 {
		message = make([]byte, random, random+len(rest))
		rand.Read(message)
		message = append(message, rest...)
		if ports, err = c.AppendPorts(nil, message); err == nil {
			return message, ports, nil
		}
	}
	return nil, nil, err
}

// timeoutFactor times the model's time, plus a second, is the time after which a
// packet of an exchange counts as lost.
const timeoutFactor = 3

// Exchange sends a request and a response by knocks in an encoding of the row,
// with the challenge between them. It returns the duration: from just before the
// first knock until the server has the response.
func (l *Link) Exchange(ctx context.Context, r Row, e challenge.Encoding) (took time.Duration, err error) {
	c, err := newCodecs(e)
	if err != nil {
		return 0, err
	}
	sent, err := c.draw()
	if err != nil {
		return 0, err
	}
	client, err := l.openClient()
	if err != nil {
		return 0, err
	}
	defer client.socket.Close()
	server, err := l.openServer()
	if err != nil {
		return 0, err
	}
	defer server.socket.Close()

	deadline := time.Now().Add(time.Second + timeoutFactor*r.Model().Time)
	// The server's deadline is earlier: its error has the number of packets.
	err = errors.Join(server.socket.SetDeadline(deadline), client.socket.SetDeadline(deadline.Add(time.Second)))
	if err != nil {
		return 0, err
	}
	var began, ended time.Time
	var challenged []byte
	var got messages
	g, gone := errgroup.WithContext(ctx)
	stop := context.AfterFunc(gone, func() {
		client.socket.SetDeadline(time.Unix(1, 0))
		server.socket.SetDeadline(time.Unix(1, 0))
	})
	defer stop()
	g.Go(func() (err error) {
		Prompt()
		began = time.Now()
		challenged, err = client.exchange(c, sent)
		return err
	})
	g.Go(func() (err error) {
		Prompt()
		got, err = server.exchange(c, sent.challenge)
		ended = time.Now()
		return err
	})
	err = g.Wait()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, errors.Join(err, l.relay.failure())
	}
	if !bytes.Equal(got.request, sent.request) || !bytes.Equal(challenged, sent.challenge) ||
		!bytes.Equal(got.response, sent.response) {
		return 0, errors.New("a received message differs from the sent one")
	}
	return ended.Sub(began), nil
}

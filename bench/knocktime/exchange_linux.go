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

// messages are an exchange's: Algorithm 2's lengths, with random contents.
type messages struct {
	request, challenge, response []byte
	requestPorts, responsePorts  []uint16
}

// codecs are an encoding's for the two messages that knocks carry.
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

// draw draws a message and appends the rest to it. Few of them would knock at
// port 0, which the kernel does not send to: those are drawn again.
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

// patience is how many times as long as the model's an exchange may take,
// besides a second, before something of it counts as lost.
const patience = 3

// Exchange sends a request and a response by knocks in a row's encoding, with
// the challenge between them, and tells how long that took: from just before
// the first knock until the server has the response.
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

	deadline := time.Now().Add(time.Second + patience*r.Model().Time)
	// The server's ends first: it can tell how much has come.
	if err := errors.Join(server.socket.SetDeadline(deadline), client.socket.SetDeadline(deadline.Add(time.Second))); err != nil {
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
		prompt()
		began = time.Now()
		challenged, err = client.exchange(c, sent)
		return err
	})
	g.Go(func() (err error) {
		prompt()
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
	if !bytes.Equal(got.request, sent.request) || !bytes.Equal(challenged, sent.challenge) || !bytes.Equal(got.response, sent.response) {
		return 0, errors.New("what was received is not what was sent")
	}
	return ended.Sub(began), nil
}

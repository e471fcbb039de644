package proofs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"sallyport/sessions/client"
	"sallyport/verify/preamble"
)

// maxTime is how long a connection may take until its first byte.
const maxTime = 10 * time.Second

// knocker is a client of a server. It belongs to one goroutine.
type knocker struct {
	profile client.Profile
	mac     preamble.MAC
	next    uint32 // its next nonce
}

// knock opens all services of the client. Its nonce file is in a directory.
func (k *knocker) knock(ctx context.Context, dir string) error {
	path := filepath.Join(dir, k.profile.Identifier.String())
	_, err := client.Knock(ctx, client.Config{
		Profile: k.profile, Nonces: client.NonceFile{Path: path}, Attempts: 1, Now: time.Now,
		Report: func(e client.Event) {
			if s, ok := e.(client.Sent); ok {
				k.next = s.Base + uint32(k.profile.Ports)
			}
		},
	})
	return err
}

// open knocks until a service is open to the client.
func (k *knocker) open(ctx context.Context, dir string, s service) (err error) {
	for end := time.Now().Add(maxTime); time.Now().Before(end); {
		if err := k.knock(ctx, dir); err != nil {
			return fmt.Errorf("knock: %w", err)
		}
		for again := time.Now().Add(time.Second); time.Now().Before(again); time.Sleep(5 * time.Millisecond) {
			if err = k.short(s); err == nil {
				return nil
			}
		}
	}
	return fmt.Errorf("a service did not open: %w", err)
}

// connect makes a connection whose next bytes are the service's, and sends the first one.
func (k *knocker) connect(s service, first byte) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", s.address, maxTime)
	if err != nil {
		return nil, err
	}
	if err := k.begin(s, c, first); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (k *knocker) begin(s service, c net.Conn, first byte) error {
	if err := c.SetDeadline(time.Now().Add(maxTime)); err != nil {
		return err
	}
	if s.proves {
		if err := k.prove(s, c); err != nil {
			return fmt.Errorf("prove a connection: %w", err)
		}
	}
	_, err := c.Write([]byte{first})
	return err
}

// prove is the client's side of the handshake, as client.ConnProver makes it.
func (k *knocker) prove(s service, c net.Conn) error {
	nonce := k.next
	k.next++
	p, err := preamble.NewClient(s.name, k.profile.Identifier, uint32(time.Now().Unix()), nonce, k.mac)
	if err != nil {
		return err
	}
	begin := p.Preamble()
	if _, err := c.Write(begin[:]); err != nil {
		return err
	}
	var answer [preamble.AnswerSize]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return err
	}
	proof, err := p.Answer(answer[:])
	if err != nil {
		return err
	}
	_, err = c.Write(proof[:])
	return err
}

// short makes a connection, exchanges a byte, and closes it.
func (k *knocker) short(s service) error {
	c, err := k.connect(s, echo)
	if err != nil {
		return err
	}
	var b [1]byte
	_, err = io.ReadFull(c, b[:])
	return errors.Join(err, c.Close())
}

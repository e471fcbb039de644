package connecttime

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"time"

	"sallyport/sessions/client"
)

// request is what a client sends first to a web service.
const request = "GET / HTTP/1.0\r\n\r\n"

// maxTime is how long a try may take.
const maxTime = 20 * time.Second

// target is a service of a running server, with the profile of its client.
type target struct {
	service
	path    string // of the profile
	profile client.Profile
	nonces  client.NonceFile
	ctx     context.Context
	program string
}

func (t target) with(ctx context.Context, cfg Config) *target {
	t.ctx, t.program = ctx, cfg.Client
	return &t
}

// trips returns the round trips that the client may need more than for a plain connection.
func (t *target) trips() (n int) {
	proves := t.profile.Handshake
	if t.exchange {
		n++
		proves = t.profile.Challenge.Handshake
	}
	if proves != client.HandshakeGranted {
		n++
	}
	return n
}

// firstByte sends the request of a web client, and waits for the first byte.
func (t *target) firstByte(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(maxTime)); err != nil {
		return err
	}
	return t.exchangeFirst(c, c)
}

func (t *target) exchangeFirst(w io.Writer, r io.Reader) error {
	if t.web {
		if _, err := io.WriteString(w, request); err != nil {
			return err
		}
	}
	_, err := io.ReadFull(r, make([]byte, 1))
	return err
}

// plain returns the time of a plain connection to an open port.
func (t *target) plain(address string) (time.Duration, error) {
	port := plainPort
	if t.web {
		port = plainWebPort
	}
	begin := time.Now()
	c, err := net.DialTimeout("tcp", net.JoinHostPort(address, strconv.Itoa(port)), maxTime)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	err = t.firstByte(c)
	return time.Since(begin), err
}

// knock returns the time from the last knock, or the last packet of the request, to the
// first byte.
func (t *target) knock() (time.Duration, error) {
	ctx, cancel := context.WithTimeout(t.ctx, maxTime)
	defer cancel()
	var sent time.Time
	sequences := 0
	report := func(e client.Event) {
		switch e.(type) {
		case client.Sent, client.Requested:
			sequences++
			sent = time.Now()
		}
	}
	var result client.Result
	var err error
	if t.exchange {
		result, err = client.Exchange(ctx, client.ExchangeConfig{
			Server: t.profile.Server, Challenge: *t.profile.Challenge, Keep: true, Random: rand.Reader, Report: report,
		})
	} else {
		result, err = client.Knock(ctx, client.Config{
			Profile: t.profile, Nonces: t.nonces, Keep: true, Now: time.Now, Report: report,
		})
	}
	if err != nil {
		return 0, err
	}
	defer result.Conn.Close()
	err = t.firstByte(result.Conn)
	if err == nil && sequences != 1 {
		err = fmt.Errorf("expected one sequence, the client sent %d", sequences)
	}
	return time.Since(sent), err
}

// process returns the time from the start of "sallyport connect" to the first byte.
func (t *target) process() (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(t.ctx, maxTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.program, "connect", t.path)
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var text limited
	cmd.Stderr = &text
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the client: %w", err)
	}
	err = t.exchangeFirst(in, out)
	took = time.Since(begin)
	in.Close()
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		err = fmt.Errorf("the client ended without a byte of the service: %w: %s", err, text.b)
	}
	return took, err
}

// limited keeps the begin of what is written to it.
type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	const most = 4096
	l.b = append(l.b, p[:min(len(p), most-len(l.b))]...)
	return len(p), nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/terminal"
	"sallyport/sessions/client"
	"sallyport/sessions/syserror"
)

// serviceConn is a client.Conn, or a streamConn.
type serviceConn interface {
	net.Conn
	CloseWrite() error
	SetKeepAliveConfig(net.KeepAliveConfig) error
}

// streamConn is a connection through a web server, which sends keepalives by itself.
type streamConn struct{ client.Stream }

func (streamConn) SetKeepAliveConfig(net.KeepAliveConfig) error { return nil }

// forward copies in both directions until the service closes the connection. At the
// end of standard input it closes only its side, so that the service can still reply.
func forward(ctx context.Context, env cli.Env, conn serviceConn) error {
	defer conn.Close()
	conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true}) // with the times of package net
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	sent := sender{conn: conn}
	go func() {
		io.Copy(&sent, env.Stdin)
		conn.CloseWrite()
	}()
	_, err := io.Copy(terminal.Raw(env.Stdout), conn)
	var offline *client.OfflineError
	if reset := sent.reset(); reset != nil && (err == nil || errors.Is(err, io.EOF)) {
		err = reset
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &offline):
		return offline // the service ended the connection at once
	case err != nil:
		return fmt.Errorf("the connection broke: %w", err)
	}
	return nil
}

// sender writes to a connection, and keeps the error. The kernel reports a reset
// once: if it has reported it to a writer, a reader sees an end of file, and would
// take the incomplete data for complete.
type sender struct {
	conn serviceConn
	mu   sync.Mutex
	err  error
}

func (s *sender) Write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, s.err = s.conn.Write(b)
	return n, s.err
}

// reset returns the error if the connection was reset. It ends a Write that waits.
func (s *sender) reset() error {
	s.conn.SetWriteDeadline(time.Unix(1, 0))
	s.mu.Lock()
	defer s.mu.Unlock()
	if syserror.Reset.In(s.err) {
		return s.err
	}
	return nil
}

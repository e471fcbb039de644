package helper

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

const (
	replyDone   = 0
	replyFailed = 1
)

// Firewall is what the helper changes. A service's number is its place in the
// configuration.
type Firewall interface {
	// Apply carries out changes in one step: all, or none.
	Apply([]Change) error
	// Disconnect ends what is connected from an address to a service.
	Disconnect(service uint16, a netip.Addr) error
	// CloseAll lets nobody in any more.
	CloseAll() error
}

// Serve carries out what the server asks for over the socket, until its end
// closes. Then it closes everything. It reports whether the server stopped in
// order.
func Serve(socket *os.File, p Policy, f Firewall) (ordered bool, err error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		return false, fmt.Errorf("take over the socket: %w", err)
	}
	defer conn.Close()
	defer func() { err = errors.Join(err, f.CloseAll()) }()
	if err := reply(conn, nil); err != nil {
		return false, err
	}
	buffer := make([]byte, maxRequest+1)
	for {
		n, err := conn.Read(buffer)
		// An end of file, or a message without a byte, which nobody sends.
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return ordered, nil
		}
		if err != nil {
			return ordered, fmt.Errorf("hear the server: %w", err)
		}
		exit, err := handle(buffer[:n], p, f)
		ordered = ordered || exit
		if err := reply(conn, err); err != nil {
			return ordered, err
		}
	}
}

// handle deals with one request, and reports whether the server stops.
func handle(request []byte, p Policy, f Firewall) (exit bool, err error) {
	changes, err := Parse(request)
	if err != nil {
		return false, fmt.Errorf("refused: %w", err)
	}
	var apply []Change
	for _, c := range changes {
		if err := p.check(c); err != nil {
			return false, fmt.Errorf("refused: %w", err)
		}
		if c.Kind == Exit {
			exit = true
			continue
		}
		apply = append(apply, c)
	}
	if len(apply) > 0 {
		if err := f.Apply(apply); err != nil {
			return exit, err
		}
	}
	for _, c := range changes {
		if c.Kind == Cut {
			err = errors.Join(err, f.Disconnect(c.Number, c.Address))
		}
	}
	return exit, err
}

func reply(conn net.Conn, failure error) error {
	message := []byte{replyDone}
	if failure != nil {
		message = append([]byte{replyFailed}, failure.Error()...)
		message = message[:min(len(message), maxReply)]
	}
	if err := conn.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if _, err := conn.Write(message); err != nil {
		return fmt.Errorf("answer the server: %w", err)
	}
	return nil
}

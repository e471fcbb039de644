package helper

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
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
	// Disconnect ends what is connected, from the addresses of the changes to
	// their services. It may take seconds, and run beside Apply.
	Disconnect([]Change) error
	// CloseAll lets nobody in any more.
	CloseAll() error
}

// Serve carries out what the server asks for over the socket, until its end
// closes. Then it closes everything. It reports whether the server stopped in
// order. What goes wrong after an answer is logged.
func Serve(socket *os.File, p Policy, f Firewall, log *slog.Logger) (ordered bool, err error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		return false, fmt.Errorf("take over the socket: %w", err)
	}
	defer conn.Close()
	cuts := newCutter(f, log)
	defer cuts.end()
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
		changes, err := handle(buffer[:n], p, f)
		ordered = ordered || is(changes, Exit)
		if err := reply(conn, err); err != nil {
			return ordered, err
		}
		if err == nil && is(changes, Cut) {
			cuts.add(changes)
		}
	}
}

// handle deals with one request but for ending connections, which takes
// longer than the server waits, and returns what it asked for.
func handle(request []byte, p Policy, f Firewall) ([]Change, error) {
	changes, err := Parse(request)
	if err != nil {
		return nil, fmt.Errorf("refused: %w", err)
	}
	for _, c := range changes {
		if err := p.check(c); err != nil {
			return nil, fmt.Errorf("refused: %w", err)
		}
	}
	apply := slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return c.Kind == Exit })
	if len(apply) == 0 {
		return changes, nil
	}
	return changes, f.Apply(apply)
}

func is(changes []Change, k Kind) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return c.Kind == k })
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

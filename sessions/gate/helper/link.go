package helper

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// answerTime is how long the holder may take: it does milliseconds of work.
const answerTime = 5 * time.Second

// link is a connection to one holder, until either end gives it up.
type link struct {
	conn    net.Conn
	replies chan []byte
	once    sync.Once
	gone    chan struct{} // closed when it is given up
	why     error         // set before gone is closed
	ended   chan struct{} // the holder is no more, or of one that goes on: the connection
}

// newLink begins to read. The lifeline ends with the holder's process; nil: the
// connection tells.
func newLink(conn net.Conn, lifeline io.ReadCloser) *link {
	l := &link{conn: conn, replies: make(chan []byte), gone: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		l.read()
		if lifeline == nil {
			close(l.ended)
		}
	}()
	if lifeline != nil {
		go func() {
			defer lifeline.Close()
			defer close(l.ended)
			lifeline.Read(make([]byte, 1)) // nothing ever comes but the end
		}()
	}
	return l
}

// read hands replies on, until the connection ends: the end is noticed when it
// comes, and not with the next request.
func (l *link) read() {
	buffer := make([]byte, maxReply+1)
	for {
		n, err := l.conn.Read(buffer)
		if err != nil || n == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			l.lost(err)
			return
		}
		select {
		case l.replies <- bytes.Clone(buffer[:n]):
		case <-l.gone:
			return
		}
	}
}

// ask sends a request and returns the reply. One caller at a time.
func (l *link) ask(request []byte, within time.Duration) ([]byte, error) {
	// Deadlines go by the timers of this process, and so by its own clock.
	if err := l.conn.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		l.lost(err)
		return nil, l.why // of before, if it was given up
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	// If this fails because the other end has closed, it may have said why before.
	l.conn.Write(request)
	select {
	case b := <-l.replies:
		return b, nil
	case <-l.gone:
		return nil, l.why
	case <-timer.C:
		return nil, l.lost(fmt.Errorf("no answer within %s", within))
	}
}

// lost gives the link up: after half an exchange, answers would be taken for
// those to other requests. The holder then closes everything.
func (l *link) lost(err error) error {
	if err == nil {
		err = ErrDead
	} else {
		err = fmt.Errorf("%w: %w", ErrDead, err)
	}
	l.once.Do(func() {
		l.conn.Close()
		l.why = err
		close(l.gone)
	})
	return err
}

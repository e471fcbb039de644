package holder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// answerTime is the time in which the holder must answer: its work takes
// milliseconds.
const answerTime = 5 * time.Second

// link is a connection to one holder, until either end gives it up.
type link struct {
	conn    net.Conn
	replies chan reply
	once    sync.Once
	gone    chan struct{}          // closed when the link is given up
	err     error                  // set before gone is closed
	ended   chan struct{}          // closed when the holder has ended, or the connection to an independent one
	sandbox atomic.Pointer[[]byte] // of the holder: see Conn.Sandbox
	// silent: the next reply is that of an earlier request: see silence.go.
	silent     atomic.Bool
	fellSilent chan struct{} // has an element when that begins
	// unsettled is whether the schedule that the holder has read again must be put in force;
	// nil: that was sent, or there is none. Conn.mu protects it.
	unsettled *bool
}

// reply is a message of the holder, with the files whose descriptors it has.
type reply struct {
	text  []byte
	files []*os.File
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// newLink starts reading. The lifeline ends with the holder's process; nil:
// only the connection shows its end.
func newLink(conn net.Conn, lifeline io.ReadCloser) *link {
	l := &link{conn: conn, replies: make(chan reply), gone: make(chan struct{}), ended: make(chan struct{}), fellSilent: make(chan struct{}, 1)}
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
			lifeline.Read(make([]byte, 1)) // the only event is the end
		}()
	}
	return l
}

// read passes on replies until the connection ends: so the server notices the
// end immediately, and not with the next request.
func (l *link) read() {
	buffer := make([]byte, maxReply+1)
	for {
		n, files, err := read(l.conn, buffer)
		if err != nil || n == 0 {
			closeAll(files)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			l.fail(err)
			return
		}
		select {
		case l.replies <- reply{bytes.Clone(buffer[:n]), files}:
		case <-l.gone:
			closeAll(files)
			return
		}
	}
}

// call is callFiles for a request whose reply has no files.
func (l *link) call(request []byte, within time.Duration) ([]byte, error) {
	r, err := l.callFiles(request, within)
	closeAll(r.files)
	return r.text, err
}

// callFiles sends a request and returns the reply. Only one caller at a time. Without a
// reply, the outcome of the request is not known, so callFiles gives up the link.
func (l *link) callFiles(request []byte, within time.Duration) (r reply, err error) {
	r, err = l.exchange(request, within)
	if errors.Is(err, errNoReply) {
		err = l.fail(fmt.Errorf("%w within %s", err, within))
	}
	return r, err
}

// exchange sends a request and waits for its reply.
func (l *link) exchange(request []byte, within time.Duration) (r reply, err error) {
	if l.silent.Load() {
		return r, ErrSilent
	}
	// Deadlines use the timers of this process, and so time.Now.
	if err := l.conn.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		l.fail(err)
		return r, l.err // the earlier error, if the link was already given up
	}
	// If the write fails because the holder has closed the connection, its last
	// reply may have the reason.
	l.conn.Write(request)
	return l.wait(context.Background(), within)
}

var errNoReply = errors.New("no reply")

// wait waits for a reply, in two parts: if this process did not run for a while, the first
// part ends before the reply is read that came meanwhile.
func (l *link) wait(ctx context.Context, within time.Duration) (r reply, err error) {
	for range 2 {
		timer := time.NewTimer(within / 2)
		select {
		case r = <-l.replies:
		case <-l.gone:
			err = l.err
		case <-ctx.Done():
			err = ctx.Err()
		case <-timer.C:
			continue
		}
		timer.Stop()
		return r, err
	}
	return r, errNoReply
}

// fail gives up the link: after an incomplete call, a reply would be taken for
// that of another request. The holder then closes everything.
func (l *link) fail(err error) error {
	if err == nil {
		err = ErrDead
	} else {
		err = fmt.Errorf("%w: %w", ErrDead, err)
	}
	l.once.Do(func() {
		l.conn.Close()
		l.err = err
		close(l.gone)
	})
	return err
}

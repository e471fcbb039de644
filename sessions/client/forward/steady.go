package forward

import (
	"errors"
	"io"
	"sync"
	"time"

	"sallyport/sessions/syserror"
)

const (
	// firstMoments is how long after its handshake a connection may be reset by a server
	// that does not admit this computer, and is busy.
	firstMoments = 250 * time.Millisecond
	// maxKept is how many bytes are kept in that time. If only admitted addresses can
	// connect, a reset is hardly that of a stranger's connection, and nothing is sent twice.
	maxKept = 1 << 16
)

// steady is a plain connection to a service. If it is reset within the first moments,
// before the service has sent a byte, another connection takes its place, which gets the
// bytes that were sent. A server that resets the connections of strangers passes none of
// their bytes on, so the service gets them once. After the first byte, the first moments,
// or the bytes that can be kept, it is the connection itself. One goroutine may read, and
// another one write.
type steady struct {
	Conn  // read and replaced under mu
	again func() (c Conn, first []byte, err error)

	writing sync.Mutex // held by a writer

	mu     sync.Mutex
	until  time.Time
	limit  int    // of kept
	over   bool   // no other connection takes its place
	kept   []byte // sent in the first moments
	ended  bool   // by CloseWrite
	broken bool   // a writer has seen the reset: the kernel reports it once
	first  []byte // of the other connection, and not yet read
}

func newSteady(c Conn, begin time.Time, limit int, again func() (Conn, []byte, error)) *steady {
	return &steady{Conn: c, again: again, until: begin.Add(firstMoments), limit: limit}
}

// current returns the connection, and whether it can still be replaced.
func (s *steady) current() (c Conn, replaceable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Conn, !s.over
}

// settle makes the connection the last one.
func (s *steady) settle() {
	s.over, s.kept = true, nil
}

func (s *steady) Read(b []byte) (int, error) {
	s.mu.Lock()
	if len(s.first) > 0 {
		defer s.mu.Unlock()
		n := copy(b, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	c := s.Conn
	s.mu.Unlock()
	n, err := c.Read(b)
	if errors.Is(err, io.EOF) {
		s.awaitWriter()
	}
	s.mu.Lock()
	reset := syserror.Reset.In(err) || s.broken && err != nil
	if s.over || !reset || time.Now().After(s.until) {
		s.settle()
		if s.broken && errors.Is(err, io.EOF) {
			err = syserror.Reset.Err()
		}
		s.mu.Unlock()
		return n, err
	}
	defer s.mu.Unlock()
	if err := s.replace(); err != nil {
		return 0, err
	}
	return s.readAgain(b)
}

// awaitWriter returns when the writer has recorded the error that the kernel has reported
// to it.
func (s *steady) awaitWriter() {
	s.writing.Lock()
	defer s.writing.Unlock()
}

// readAgain reads from the other connection, of which the first bytes may be read.
func (s *steady) readAgain(b []byte) (int, error) {
	if n := copy(b, s.first); n > 0 {
		s.first = s.first[n:]
		return n, nil
	}
	c := s.Conn
	s.mu.Unlock()
	defer s.mu.Lock()
	return c.Read(b)
}

// replace replaces the connection. Writers wait meanwhile.
func (s *steady) replace() error {
	kept, ended := s.kept, s.ended
	s.settle()
	s.Conn.Close()
	c, first, err := s.again()
	if err != nil {
		return err
	}
	s.Conn, s.first, s.broken = c, first, false
	if _, err := c.Write(kept); err != nil {
		return err
	}
	if ended {
		return c.CloseWrite()
	}
	return nil
}

func (s *steady) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	if !s.over && (time.Now().After(s.until) || len(s.kept)+len(b) > s.limit) {
		s.settle()
	}
	c, keep := s.Conn, !s.over
	if keep {
		s.kept = append(s.kept, b...)
	}
	s.mu.Unlock()
	n, err := c.Write(b)
	if err == nil || !keep {
		return n, err
	}
	// The reader replaces the connection, and sends these bytes again. After a broken pipe, its
	// own error distinguishes a reset from an end in order, which is not repeated.
	s.mu.Lock()
	defer s.mu.Unlock()
	if c == s.Conn && syserror.Reset.In(err) {
		s.broken = true
	}
	return len(b), nil
}

func (s *steady) CloseWrite() error {
	s.mu.Lock()
	s.ended = true
	c, replaceable := s.Conn, !s.over
	s.mu.Unlock()
	err := c.CloseWrite()
	if replaceable {
		return nil // the reader sees the reset
	}
	return err
}

// Close closes the connection, after a replacement that is under way.
func (s *steady) Close() error {
	c, _ := s.current()
	return c.Close()
}

// SetLinger makes Close reset the connection.
func (s *steady) SetLinger(sec int) error {
	c, _ := s.current()
	if tcp, ok := c.(interface{ SetLinger(int) error }); ok {
		return tcp.SetLinger(sec)
	}
	return nil
}

// ReadFrom writes what r has, by splice(2) as soon as the connection is the last one.
func (s *steady) ReadFrom(r io.Reader) (n int64, err error) {
	b := make([]byte, 32<<10)
	for {
		c, replaceable := s.current()
		if !replaceable {
			m, err := io.Copy(c, r)
			return n + m, err
		}
		m, err := r.Read(b)
		if m > 0 {
			n += int64(m)
			if _, err := s.Write(b[:m]); err != nil {
				return n, err
			}
		}
		if err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

// WriteTo writes to w what the service sends, by splice(2) after its first bytes.
func (s *steady) WriteTo(w io.Writer) (n int64, err error) {
	b := make([]byte, 32<<10)
	for {
		s.mu.Lock()
		c, settled := s.Conn, s.over && len(s.first) == 0 && !s.broken
		s.mu.Unlock()
		if settled {
			m, err := io.Copy(w, c)
			return n + m, err
		}
		m, err := s.Read(b)
		if m > 0 {
			k, err := w.Write(b[:m])
			n += int64(k)
			if err != nil {
				return n, err
			}
		}
		if err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

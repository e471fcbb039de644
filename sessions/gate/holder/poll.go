package holder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// pollPause is the time between two requests for a result.
const pollPause = 50 * time.Millisecond

// poll makes the holder begin something that takes long, and requests the result until
// there is one, or ctx ends. It does not delay grants. Only one goroutine at a time may
// poll for a kind of result. parse reports whether a result is valid; if so, it owns the
// files.
func (c *Conn) poll(ctx context.Context, begin []byte, result kind, parse func(a answer, b []byte, files []*os.File) bool) error {
	c.mu.Lock()
	_, err := c.call(begin, 0)
	c.mu.Unlock()
	for over := err != nil; !over; {
		over, err = c.pollOnce(result, parse)
		if errors.Is(err, ErrSilent) {
			over, err = false, nil // it has the result when it continues, and begins no other before
		}
		if over {
			break
		}
		select {
		case <-time.After(pollPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// pollOnce requests a result. over is false while there is none.
func (c *Conn) pollOnce(result kind, parse func(answer, []byte, []*os.File) bool) (over bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.current()
	if l == nil {
		return true, ErrDead
	}
	r, err := l.callFiles([]byte{byte(result)}, answerTime)
	if err != nil {
		return true, err
	}
	over, err = r.result(parse)
	if errors.Is(err, errReply) {
		err = l.fail(err)
	}
	return over, err
}

func (r reply) result(parse func(answer, []byte, []*os.File) bool) (over bool, err error) {
	if len(r.text) > 0 {
		switch kind, b := answer(r.text[0]), r.text[1:]; {
		case kind == answerPending && len(b) == 0 && len(r.files) == 0:
			return false, nil
		case kind == answerRefused:
			closeAll(r.files)
			return true, fmt.Errorf("the firewall's holder: %w: %s", ErrRefused, b)
		case parse(kind, b, r.files):
			return true, nil
		}
	}
	closeAll(r.files)
	return true, errReply
}

package holder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Shield makes the holder load the shield, and returns its arrays by their names. The
// caller must close the files. Only one goroutine at a time may call it. It does not
// delay grants.
func (c *Conn) Shield(ctx context.Context, r ShieldRequest) (map[string]*os.File, error) {
	request, err := appendShield(nil, r)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	_, err = c.call(request, 0)
	c.mu.Unlock()
	for err == nil {
		var arrays map[string]*os.File
		var over bool
		if arrays, over, err = c.pollShield(); over {
			return arrays, err
		}
		select {
		case <-time.After(pollPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, err
}

// pollShield requests the arrays of the shield. over is false while it is loaded.
func (c *Conn) pollShield() (arrays map[string]*os.File, over bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.current()
	if l == nil {
		return nil, true, ErrDead
	}
	r, err := l.callFiles([]byte{byte(kindShieldResult)}, answerTime)
	if err != nil {
		return nil, true, err
	}
	arrays, over, err = parseShieldReply(r)
	if arrays == nil {
		closeAll(r.files)
	}
	if errors.Is(err, errReply) {
		err = l.fail(err)
	}
	return arrays, over, err
}

// parseShieldReply parses the reply. If it returns arrays, these are all of its files.
func parseShieldReply(r reply) (arrays map[string]*os.File, over bool, err error) {
	if len(r.text) == 0 {
		return nil, true, errReply
	}
	switch kind, b := answer(r.text[0]), r.text[1:]; {
	case kind == answerPending && len(b) == 0:
		return nil, false, nil
	case kind == answerRefused:
		return nil, true, fmt.Errorf("the firewall's holder: %w: %s", ErrRefused, b)
	case kind == answerShield:
		names := strings.Split(string(b), ",")
		if len(names) != len(r.files) {
			return nil, true, errReply
		}
		arrays = make(map[string]*os.File, len(names))
		for i, name := range names {
			arrays[name] = r.files[i]
		}
		if len(arrays) != len(names) {
			return nil, true, errReply
		}
		return arrays, true, nil
	}
	return nil, true, errReply
}

// ShieldState returns where the shield is attached.
func (c *Conn) ShieldState() (state ShieldState, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.current()
	if l == nil {
		return state, ErrDead
	}
	b, err := l.call([]byte{byte(kindShieldState)}, answerTime)
	switch {
	case err != nil:
		return state, err
	case len(b) > 0 && answer(b[0]) == answerRefused:
		return state, fmt.Errorf("the firewall's holder: %w: %s", ErrRefused, b[1:])
	case len(b) == 0 || answer(b[0]) != answerShieldState || json.Unmarshal(b[1:], &state) != nil:
		return state, l.fail(errReply)
	}
	return state, nil
}

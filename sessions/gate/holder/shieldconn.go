package holder

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// Shield makes the holder load the shield, and returns its arrays by their names. The
// caller must close the files. Only one goroutine at a time may call it. It does not
// delay grants.
func (c *Conn) Shield(ctx context.Context, r ShieldRequest) (arrays map[string]*os.File, err error) {
	request, err := appendShield(nil, r)
	if err != nil {
		return nil, err
	}
	err = c.poll(ctx, request, kindShieldResult, func(a answer, names []byte, files []*os.File) (ok bool) {
		arrays, ok = parseArrays(names, files)
		return ok && a == answerShield
	})
	if err != nil {
		return nil, err
	}
	return arrays, nil
}

// parseArrays gives each file its name.
func parseArrays(names []byte, files []*os.File) (arrays map[string]*os.File, ok bool) {
	list := strings.Split(string(names), ",")
	if len(list) != len(files) {
		return nil, false
	}
	arrays = make(map[string]*os.File, len(list))
	for i, name := range list {
		arrays[name] = files[i]
	}
	return arrays, len(arrays) == len(list)
}

// ShieldState returns where the shield is attached.
func (c *Conn) ShieldState() (state ShieldState, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.current()
	if l == nil {
		return state, ErrDead
	}
	b, err := l.ask([]byte{byte(kindShieldState)}, answerTime)
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

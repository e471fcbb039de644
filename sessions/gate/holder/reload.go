package holder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// Reloaded is what an independent holder has done when it was made to read its
// configuration again.
type Reloaded struct {
	Ports   int  `json:"ports"` // of services behind the firewall
	Stealth bool `json:"stealth,omitempty"`
	// Restart: a server that runs has read the earlier configuration, and must be
	// restarted.
	Restart bool `json:"restart,omitempty"`
	// OnTrial are the services on trial, and "stealth". Until is when the last of these
	// trials is over; zero: all are, and anyone reaches the services.
	OnTrial []string  `json:"on_trial,omitempty"`
	Until   time.Time `json:"until,omitzero"`
}

// reloadTime is how long a holder may take for that: a server that it serves ends first.
const reloadTime = 30 * time.Second

// errNotAlone: the holder is a child of the server.
var errNotAlone = errors.New("this holder reads its configuration again by its server only")

// reload answers a connection that asks for that instead of a server's session.
func (h *Holder) reload(ctx context.Context, conn net.Conn, asked *time.Duration) error {
	if h.Reload == nil {
		return send(conn, refusal(errNotAlone))
	}
	done, err := h.Reload(ctx, asked)
	if err != nil {
		return send(conn, refusal(err))
	}
	text, err := json.Marshal(done)
	if len(text) >= maxReply {
		done.OnTrial = done.OnTrial[:1] // with names of some hundred bytes
		text, err = json.Marshal(done)
	}
	if err != nil {
		return err
	}
	return send(conn, append([]byte{byte(answerReloaded)}, text...))
}

// AskReload makes an independent holder read its configuration again. Newly hidden
// services are on trial, if a time is asked for. If it fails, the earlier configuration is in force.
func AskReload(ctx context.Context, dial func(context.Context) (net.Conn, error), asked *time.Duration) (done Reloaded, err error) {
	request, err := appendAsked(nil, kindReload, asked)
	if err != nil {
		return done, err
	}
	conn, err := dial(ctx)
	if err != nil {
		return done, fmt.Errorf("reach the firewall's holder: %w", err)
	}
	l := newLink(conn, nil)
	defer l.fail(nil)
	stop := context.AfterFunc(ctx, func() { l.fail(ctx.Err()) })
	defer stop()
	b, err := l.call(request, reloadTime)
	if err != nil {
		return done, err
	}
	if len(b) == 0 || answer(b[0]) != answerReloaded {
		if _, err := parseReply(b, 0); err != nil {
			return done, err
		}
		return done, errReply
	}
	if err := json.Unmarshal(b[1:], &done); err != nil {
		return done, errReply
	}
	return done, nil
}

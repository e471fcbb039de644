package daemon

import (
	"errors"
	"log/slog"
	"slices"
	"strings"

	"sallyport/cmd/sallyportd/internal/admin"
)

// The state of the shield, for the log and for the admin socket. Each function asks the
// holder at that moment.

// fail logs why there is no shield, once. The caller holds the lock.
func (s *shield) fail(err error) {
	if text := err.Error(); text != s.why {
		s.why = text
		LogNoShield(s.log, err)
	}
}

// failLarger logs why there is no shield for all clients, once. The caller holds the lock.
func (s *shield) failLarger(err error) {
	if text := err.Error(); text != s.why {
		s.why = text
		s.log.Warn("shield for more clients unavailable; the former goes on", "error", err)
	}
}

// LogNoShield logs why there is no shield.
func LogNoShield(log *slog.Logger, err error) {
	attrs := []any{"error", err}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		attrs = append(attrs, "hint", hinted.Hint())
	}
	log.Warn("shield unavailable; the sockets go on", attrs...)
}

// logOn logs where the shield is attached. The caller holds the lock.
func (s *shield) logOn() {
	state, err := s.holder.ShieldState()
	if err != nil {
		return // the holder is gone, which is logged
	}
	var on []string
	for _, at := range state.Interfaces {
		if at.Mode != "" {
			on = append(on, at.Name+":"+at.Mode)
		} else if err == nil {
			err = errors.New(at.Name + ": " + at.Error)
		}
	}
	if len(on) == 0 {
		if err == nil {
			err = errors.New("no interface has an address of the server")
		}
		s.log.Warn("shield loaded, but not attached; the sockets go on", "error", err)
		return
	}
	s.log.Info("shield on", "interfaces", strings.Join(on, ","), "shares", s.options.Shares)
	if s.options.Mirror {
		s.log.Warn("shield drops nothing", "reason", "shield_mirror = true")
	}
}

// status returns what the shield does now; nil: the configuration has none.
func (s *shield) status() *admin.Shield {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	on, why := s.current != nil, s.why
	s.mu.Unlock()
	if !on && why == "" {
		why = "no holder has loaded it"
	}
	if !on {
		return &admin.Shield{Error: why}
	}
	state, err := s.holder.ShieldState()
	if err != nil {
		return &admin.Shield{Error: err.Error()}
	}
	now := &admin.Shield{On: true}
	for _, at := range state.Interfaces {
		now.Interfaces = append(now.Interfaces, admin.ShieldInterface(at))
	}
	return now
}

// modes returns the modes in which the shield is attached, for the log.
func (s *shield) modes() string {
	now := s.status()
	switch {
	case now == nil:
		return "off"
	case !now.On:
		return "unavailable"
	}
	var modes []string
	for _, at := range now.Interfaces {
		if at.Mode != "" && !slices.Contains(modes, at.Mode) {
			modes = append(modes, at.Mode)
		}
	}
	if len(modes) == 0 {
		return "not attached"
	}
	slices.Sort(modes)
	return strings.Join(modes, ",")
}

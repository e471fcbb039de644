package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/shield"
	"sallyport/ingest/xdp"
	"sallyport/sessions/gate/holder"
)

// effectiveShield is the program at the network driver: what the configuration has, and
// what there is now.
type effectiveShield struct {
	Mode string `json:"shield"` // "off" or "xdp"
	// Possible reports whether this host can have it; nil: this command lacks the
	// privileges to find out.
	Possible *bool  `json:"possible,omitempty"`
	Why      string `json:"why,omitempty"` // it cannot, or it is not known where
	// Now is what the running server has: "on", "gone", or "off" if it was started
	// without the shield. Empty: no server answers.
	Now string `json:"now,omitempty"`
	// Flows reports whether the program can look up the flows that the kernel tracks, and
	// Translates whether this host translates addresses, so that it has to.
	Flows      bool                    `json:"flows,omitempty"`
	Translates bool                    `json:"translates,omitempty"`
	Interfaces []admin.ShieldInterface `json:"interfaces,omitempty"`
	Shares     bool                    `json:"shares,omitempty"`
	Mirror     bool                    `json:"mirror,omitempty"`

	cause  error                // this host cannot have it
	gone   string               // why the running server has none
	silent error                // why it is not known whether a server runs
	unread error                // why the interfaces are not known
	holds  bool                 // "sallyportd firewall hold" answers
	taken  map[string]xdp.Owner // interfaces with an XDP program, if no server has the shield
}

// holderTime is how long "check" waits for a holder.
const holderTime = time.Second

// shieldOf finds out whether this host can have the shield, where, and what the running
// server has.
func shieldOf(ctx context.Context, cfg *config.Config, host config.Host) *effectiveShield {
	e := &effectiveShield{Mode: "off"}
	var policy holder.ShieldPolicy
	if cfg.Shield != nil {
		e.Mode, e.Shares, e.Mirror = "xdp", cfg.Shield.Shares, cfg.Shield.Mirror
		policy = *cfg.ShieldPolicy().Shield
		waiting, stop := context.WithTimeout(ctx, holderTime)
		defer stop()
		e.holds = holder.Answers(waiting, cfg.FirewallSocket)
	}
	if host.Shield() {
		var found xdp.Probed
		found, e.cause = xdp.Probe()
		e.Flows, e.Translates = found.Tracks, found.LooksUp
		possible := e.cause == nil
		e.Possible = &possible
		if !possible {
			e.Why = e.cause.Error()
		}
	}
	running, err := admin.Conn{Socket: cfg.AdminSocket}.Shield(ctx)
	e.ask(running, err)
	if e.Now != "on" {
		e.preview(shield.Previews(policy, cfg.Listen))
	}
	return e
}

// ask takes the answer of the running server.
func (e *effectiveShield) ask(running *admin.Shield, err error) {
	var unreachable *admin.UnreachableError
	switch {
	case errors.As(err, &unreachable) && unreachable.Stopped():
	case err != nil:
		e.silent = err
	case running == nil:
		e.Now = "off"
	case running.On:
		e.Now, e.Interfaces = "on", running.Interfaces
	default:
		e.Now, e.gone = "gone", running.Error
	}
}

// preview takes the interfaces that would get the shield.
func (e *effectiveShield) preview(all []shield.Preview, err error) {
	if err != nil {
		e.unread = err
		if e.Why == "" {
			e.Why = err.Error()
		}
	}
	e.taken = map[string]xdp.Owner{}
	for _, p := range all {
		e.Interfaces = append(e.Interfaces, admin.ShieldInterface{Name: p.Name, Mode: p.Mode, Error: p.Err})
		if p.Err == "" && p.Owner != xdp.NoOwner {
			e.taken[p.Name] = p.Owner
		}
	}
}

// nowhere reports whether no interface has the shield, or can have it.
func (e *effectiveShield) nowhere() bool {
	return e.unread == nil && !slices.ContainsFunc(e.Interfaces, func(i admin.ShieldInterface) bool {
		return i.Error == "" && e.taken[i.Name] == xdp.NoOwner
	})
}

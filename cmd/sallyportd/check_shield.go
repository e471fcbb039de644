package main

import (
	"context"
	"errors"
	"strings"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/shield"
	"sallyport/ingest/xdp"
	"sallyport/sessions/gate/holder"
)

// effectiveShield is the program at the network driver.
type effectiveShield struct {
	Mode string `json:"shield"` // "off" or "xdp"
	// Possible reports whether this host can have it; nil: this command lacks the
	// privileges to find out.
	Possible *bool  `json:"possible,omitempty"`
	Why      string `json:"why,omitempty"` // it cannot
	// Flows reports whether the program looks up the flows that the kernel tracks.
	Flows      bool                    `json:"flows,omitempty"`
	Interfaces []admin.ShieldInterface `json:"interfaces,omitempty"`
	Shares     bool                    `json:"shares,omitempty"`
	Mirror     bool                    `json:"mirror,omitempty"`

	cause   error // of Why
	busy    []string
	running *admin.Shield // of the running server; nil: there is none
}

// shieldOf finds out whether this host can have the shield, and where.
func shieldOf(ctx context.Context, cfg *config.Config, host config.Host) *effectiveShield {
	e := &effectiveShield{Mode: "off"}
	var policy holder.ShieldPolicy
	if cfg.Shield != nil {
		e.Mode, e.Shares, e.Mirror = "xdp", cfg.Shield.Shares, cfg.Shield.Mirror
		policy = *cfg.ShieldPolicy().Shield
		e.running, _ = admin.Conn{Socket: cfg.AdminSocket}.Shield(ctx)
	}
	if host.Shield() {
		e.Flows, e.cause = xdp.Probe()
		possible := e.cause == nil
		e.Possible = &possible
		if !possible {
			e.Why = e.cause.Error()
		}
	}
	if e.running != nil && e.running.On {
		e.Interfaces = e.running.Interfaces
		return e
	}
	previews, err := shield.Previews(policy, cfg.Listen)
	if err != nil {
		e.Why = err.Error()
	}
	for _, p := range previews {
		e.Interfaces = append(e.Interfaces, admin.ShieldInterface{Name: p.Name, Mode: p.Mode, Error: p.Err})
		if p.Busy {
			e.busy = append(e.busy, p.Name)
		}
	}
	return e
}

// lines returns the shield for people: a line each.
func (e *effectiveShield) lines() []string {
	var at []string
	for _, i := range e.Interfaces {
		switch {
		case i.Error != "":
			at = append(at, i.Name+" (not attached)")
		case i.Mode != "":
			at = append(at, i.Name+" ("+i.Mode+")")
		default:
			at = append(at, i.Name)
		}
	}
	where := strings.Join(at, ", ")
	if where == "" {
		where = "no interface"
	}
	if e.Mode == "off" {
		switch {
		case e.Possible == nil:
			return []string{"off; only root, or a process with CAP_BPF and CAP_NET_ADMIN, can check whether this host can have it"}
		case *e.Possible:
			return []string{"off; this host can have it (shield = \"xdp\"), on " + where}
		}
		return []string{"off; this host cannot have it: " + e.Why}
	}
	list := []string{"before the sockets, on " + where}
	if e.Possible != nil && *e.Possible && !e.Flows {
		list = append(list, "this kernel does not let it look up flows: if this host translates addresses (NAT), the high ports go to the sockets")
	}
	if !e.Mirror {
		list = append(list, "your own firewall rules, and tcpdump on this host, do not see the datagrams that it takes (shield_mirror = true shows them, for debugging)")
	}
	return list
}

// checkShield warns if the shield of the configuration cannot work, or does not.
func (e *effectiveShield) check() (found []finding) {
	if e.Mode == "off" {
		return nil
	}
	if e.Mirror {
		found = append(found, warn("shield-mirror", "after debugging, set shield_mirror = false, and reload",
			"shield_mirror is set: the shield counts what it would drop, and drops nothing"))
	}
	switch {
	case e.running != nil && !e.running.On:
		return append(found, warn("shield-gone", e.hint(), "the running server has no shield, and receives at its sockets: %s", e.running.Error))
	case e.running != nil:
	case e.Possible == nil:
		found = append(found, warn("missing-capability", grantShield,
			"shield = \"xdp\" requires CAP_BPF and CAP_NET_ADMIN, which this command does not have; without them the server receives at its sockets"))
	case !*e.Possible:
		return append(found, warn("shield-unavailable", e.hint(), "this host cannot have the shield, so the server receives at its sockets: %s", e.Why))
	default:
		for _, name := range e.busy {
			found = append(found, warn("shield-busy", "detach that program (\"ip link set dev "+name+" xdp off\", or stop its owner), or leave the interface out of shield_interfaces",
				"another XDP program is attached to %s, so the shield cannot be", name))
		}
	}
	if len(e.Interfaces) == 0 {
		found = append(found, warn("shield-not-attached", "name the interfaces in shield_interfaces", "no interface has an address of listen, so the shield is attached to none"))
	}
	for _, i := range e.Interfaces {
		if i.Error != "" {
			found = append(found, warn("shield-not-attached", "", "the shield is not attached to %s: %s", i.Name, i.Error))
		}
	}
	return found
}

const grantShield = "start \"sallyportd serve\", or \"sallyportd firewall hold\", as root or with these capabilities; the guide lists how systemd and container engines grant them (\"The shield\")"

// hint returns what to do about the cause.
func (e *effectiveShield) hint() string {
	switch {
	case errors.Is(e.cause, xdp.ErrPrivilege):
		return grantShield
	case e.running != nil && strings.Contains(e.running.Error, holder.ErrDead.Error()):
		return "start \"sallyportd firewall hold\", or restart the server if it had started the holder"
	case errors.Is(e.cause, xdp.ErrKernel), errors.Is(e.cause, xdp.ErrProcessor):
		return "set shield = \"off\" on this host"
	}
	return ""
}

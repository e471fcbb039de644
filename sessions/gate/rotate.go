package gate

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

const (
	// maxDrawnPorts is the number of drawn ports that a service may have open at a
	// time. Clients of one minute share a port.
	maxDrawnPorts = 1024
	// MaxDrawnAddresses is the maximum of LeasePolicy.Addresses of a service whose port
	// rotates, so that one client cannot have most of its ports.
	MaxDrawnAddresses = 64
	// retryTaken is the time after which candidates that were all taken are tried again.
	retryTaken = time.Second
	// rememberMinute is how long after its end a minute keeps its port: its knocks can
	// be accepted for schedule.MaxTolerance, and the record of their nonces takes time.
	rememberMinute = 2 * schedule.MaxTolerance
	// rotateCheck is the time between two checks of which drawn ports are over.
	rotateCheck = 5 * time.Second
)

// Rotation chooses the ports of a service whose port rotates (the paper's section
// 7.5). A Service calls it under its lock, for each grant, before the enforcers get the
// changes: their peers have the port that it has chosen. *Rotating is one.
type Rotation interface {
	// Port returns the port that grants of a minute and a port secret open: the first
	// candidate that is free on this host. From then on, no other program can bind it.
	// The same pair has the same port for as long as its knocks can be accepted, and
	// while a lease has the port.
	Port(m schedule.Minute, secret schedule.SecretName) (uint16, error)
}

// Draw returns the candidates of a minute, by a port secret. It returns an error if the
// configuration has no such port secret.
type Draw func(m schedule.Minute, secret schedule.SecretName) ([schedule.Candidates]uint16, error)

// DrawnPort is the enforcer of one port of a service: *TCP or *UDP.
type DrawnPort interface {
	PortOpener
	connOwners
	Prepare() error
	// busy reports whether connections or flows continue that do not require a lease.
	busy() bool
}

// RotatingConfig configures NewRotating.
type RotatingConfig struct {
	Draw Draw
	// Make returns the enforcer of a port, closed. All of them must share one
	// ConnLimits or relay.Shared. With port 0 it is only used to open random ports.
	Make func(port uint16) DrawnPort
	// HoldOnly: the enforcers hold the drawn ports, and admit no peer. Another enforcer
	// of the service leads to it from there.
	HoldOnly bool
	Clock    clock.Clock // the clock of the Service
	Log      *slog.Logger
}

// Rotating is the enforcer of a service whose port rotates. It has an enforcer for each
// drawn port, from the first grant of the minute until the minute is over, no lease has
// the port, and no connection continues. It implements Rotation.
type Rotating struct {
	cfg    RotatingConfig
	random DrawnPort // opens random ports only

	mu     sync.Mutex // locked before those of the enforcers
	draw   Draw
	ports  map[uint16]*drawnPort
	chosen map[choice]*chosenPort
	timer  *time.Timer // nil: no port is open
	closed bool
}

// choice is what a port is drawn for.
type choice struct {
	minute schedule.Minute
	secret schedule.SecretName
}

// chosenPort is the result of a choice.
type chosenPort struct {
	port  uint16    // 0: all candidates were taken
	err   error     // why there is no port
	until time.Time // by clock.Boot: when an error is over
}

// drawnPort is a port that is open, or held.
type drawnPort struct {
	DrawnPort
	peers map[access.Peer]bool // that have been admitted, by their leases
}

// NewRotating returns an enforcer without a port.
func NewRotating(cfg RotatingConfig) *Rotating {
	return &Rotating{
		cfg: cfg, random: cfg.Make(0), draw: cfg.Draw,
		ports: map[uint16]*drawnPort{}, chosen: map[choice]*chosenPort{},
	}
}

// Update replaces the draw, for minutes that have no port yet. Leases keep their ports.
func (r *Rotating) Update(d Draw) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draw = d
	for c, of := range r.chosen {
		if of.err != nil {
			delete(r.chosen, c)
		}
	}
}

// Port implements Rotation.
func (r *Rotating) Port(m schedule.Minute, secret schedule.SecretName) (uint16, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, ErrClosed
	}
	c := choice{m, secret}
	now := r.cfg.Clock.Boot()
	if of := r.chosen[c]; of != nil {
		if of.err == nil || now.Before(of.until) {
			return of.port, of.err
		}
	}
	port, err := r.choose(c)
	r.chosen[c] = &chosenPort{port, err, now.Add(retryTaken)}
	r.check()
	return port, err
}

// choose binds the first candidate that is free.
func (r *Rotating) choose(c choice) (uint16, error) {
	candidates, err := r.draw(c.minute, c.secret)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, port := range candidates {
		if r.ports[port] != nil { // of another minute
			return port, nil
		}
		if err := r.hold(port); err != nil {
			errs = append(errs, err)
			continue
		}
		if len(errs) > 0 {
			r.cfg.Log.Warn("drawn port in use by another program; using the next", "port", port, "error", errors.Join(errs...))
		}
		return port, nil
	}
	return 0, fmt.Errorf("none of the %d ports of the minute can be opened: %w", len(candidates), errors.Join(errs...))
}

// hold makes the enforcer of a port, and binds it.
func (r *Rotating) hold(port uint16) error {
	if len(r.ports) >= maxDrawnPorts {
		return fmt.Errorf("%d drawn ports of the service are open, which is the limit", maxDrawnPorts)
	}
	e := r.cfg.Make(port)
	if err := e.Prepare(); err != nil {
		e.Close()
		return err
	}
	r.ports[port] = &drawnPort{e, map[access.Peer]bool{}}
	return nil
}

// Prepare binds the ports again if the host's addresses or interfaces have changed: see
// TCP.Prepare. It never fails: each grant has its own port.
func (r *Rotating) Prepare() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for port, p := range r.ports {
		if err := p.Prepare(); err != nil {
			r.cfg.Log.Error("failed to keep a drawn port bound", "port", port, "error", err)
		}
	}
	return nil
}

// CutOff implements connOwners.
func (r *Rotating) CutOff(gone func(wire.Identifier) bool, some bool) {
	r.Each(func(p DrawnPort) { p.CutOff(gone, some) })
}

// Owners implements connOwners.
func (r *Rotating) Owners(f func(wire.Identifier)) { r.Each(func(p DrawnPort) { p.Owners(f) }) }

// Each calls f with the enforcer of each drawn port, and that of random ports.
func (r *Rotating) Each(f func(DrawnPort)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.random)
	for _, p := range r.ports {
		f(p.DrawnPort) // which may have further methods
	}
}

// OpenPort implements PortOpener, for operations.
func (r *Rotating) OpenPort(port uint16, p access.Peer, until time.Time) (RandomPort, error) {
	return r.random.OpenPort(port, p, until)
}

// Close implements access.Enforcer.
func (r *Rotating) Close() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	for _, p := range r.ports {
		err = errors.Join(err, p.Close())
	}
	clear(r.ports)
	return errors.Join(err, r.random.Close())
}

// busy reports whether the enforcer has connections.
func (t *TCP) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.conns) > 0
}

// busy reports whether the socket is open, for peers or for flows that continue.
func (u *UDP) busy() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conn != nil && u.relay.Flows() > 0
}

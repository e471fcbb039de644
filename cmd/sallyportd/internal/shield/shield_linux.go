package shield

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/ingest/xdp"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/hostevents"
)

// pollInterval is the longest time until a change is noticed that the kernel did not
// report, and after which an attempt to attach is repeated.
const pollInterval = 2 * time.Second

// eventPause is the shortest time between two readings of the host. A host where many
// containers start makes very many events, and each reading lists all its interfaces.
const eventPause = 200 * time.Millisecond

// program is a loaded xdp.Program.
type program interface {
	Files() map[string]*os.File
	SetAddresses([]xdp.Address) error
	CheckFlows() error
	Close() error
}

// attachment is an xdp.Link.
type attachment interface {
	Mode() xdp.Mode
	Lost() bool
	Close() error
}

// Shield implements holder.Shield.
type Shield struct {
	policy  holder.ShieldPolicy
	request holder.ShieldRequest
	log     *slog.Logger
	program program
	attach  func(index int) (attachment, error)
	before  func() error // what Attach does first; nil: nothing
	stop    chan struct{}
	ended   chan struct{} // nil before Attach

	stated sync.Mutex // not held while a driver attaches the program, which can take seconds
	state  holder.ShieldState

	mu       sync.Mutex
	attached map[int]place
	failed   map[string]string // why interfaces have no program, by their names
	pairs    []xdp.Address     // as the program has them
	unread   map[task]string   // errors of the last attempts, in the log already
}

// place is an interface that has the program.
type place struct {
	link
	attachment
}

// Load loads the program for a server.
func Load(p holder.ShieldPolicy, r holder.ShieldRequest, log *slog.Logger) (holder.Shield, error) {
	loaded, err := xdp.Load(xdp.Sizes{Clients: int(min(r.Clients, xdp.MaxClients))})
	if err != nil {
		return nil, err
	}
	return newShield(p, r, loaded, attachTo(loaded), log), nil
}

func attachTo(p *xdp.Program) func(int) (attachment, error) {
	return func(index int) (attachment, error) {
		l, err := p.Attach(index)
		if err != nil {
			return nil, err
		}
		return l, nil
	}
}

func newShield(
	p holder.ShieldPolicy, r holder.ShieldRequest, loaded program, attach func(int) (attachment, error), log *slog.Logger,
) *Shield {
	return &Shield{
		policy: p, request: r, log: log, program: loaded, attach: attach,
		stop: make(chan struct{}), attached: map[int]place{}, failed: map[string]string{}, unread: map[task]string{},
	}
}

// Attach implements holder.Shield: it attaches the program where that is possible now, and
// later where it becomes possible.
func (s *Shield) Attach() error {
	if s.before != nil {
		if err := s.before(); err != nil {
			return err
		}
	}
	s.reconcile()
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		hostevents.Watch(s.stop, hostevents.Addresses|hostevents.Links, eventPause, pollInterval, s.reconcile)
	}()
	return nil
}

// Arrays implements holder.Shield.
func (s *Shield) Arrays() (arrays []holder.ShieldArray) {
	files := s.program.Files()
	for _, name := range xdp.ArrayNames {
		arrays = append(arrays, holder.ShieldArray{Name: name, File: files[name]})
	}
	return arrays
}

// State implements holder.Shield.
func (s *Shield) State() holder.ShieldState {
	s.stated.Lock()
	defer s.stated.Unlock()
	return holder.ShieldState{Interfaces: slices.Clone(s.state.Interfaces)}
}

// setState makes State return what is attached now.
func (s *Shield) setState() {
	var state holder.ShieldState
	for _, at := range s.attached {
		state.Interfaces = append(state.Interfaces, holder.ShieldInterface{Name: at.name, Mode: at.Mode().String()})
	}
	for name, why := range s.failed {
		state.Interfaces = append(state.Interfaces, holder.ShieldInterface{Name: name, Error: why})
	}
	slices.SortFunc(state.Interfaces, func(a, b holder.ShieldInterface) int { return strings.Compare(a.Name, b.Name) })
	s.stated.Lock()
	defer s.stated.Unlock()
	s.state = state
}

// Close implements holder.Shield.
func (s *Shield) Close() (err error) {
	close(s.stop)
	if s.ended != nil {
		<-s.ended
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for index, at := range s.attached {
		err = errors.Join(err, at.Close())
		delete(s.attached, index)
	}
	return errors.Join(err, s.program.Close())
}

// reconcile attaches the program where it must be, and nowhere else.
func (s *Shield) reconcile() {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := readHost()
	s.report(readingHost, err)
	if err != nil {
		return
	}
	chosen, why := h.selected(s.policy.Interfaces, s.request.Listen)
	s.detach(h, chosen)
	for _, l := range chosen {
		if at, ok := s.attached[l.index]; ok {
			at.link = l // its name or hardware address may have changed
			s.attached[l.index] = at
			continue
		}
		at, err := s.attach(l.index)
		if err != nil {
			why[l.name] = err.Error()
			continue
		}
		s.attached[l.index] = place{l, at}
		s.log.Info("shield attached", "interface", l.name, "mode", at.Mode().String())
	}
	for name, text := range why {
		if s.failed[name] != text {
			s.log.Warn("shield not attached; retrying", "interface", name, "error", text)
		}
	}
	s.failed = why
	s.setState()
	s.report(checkingFlows, s.program.CheckFlows()) // after an error, the program looks up all flows
	s.setAddresses(h)
}

// detach detaches the program from interfaces where it does not belong, and gives up
// those from which another program has detached it.
func (s *Shield) detach(h host, chosen []link) {
	for index, at := range s.attached {
		is := func(l link) bool { return l.index == index }
		reason := ""
		switch i := slices.IndexFunc(h.links, is); {
		case i < 0:
			reason = "the interface is gone"
		case !slices.ContainsFunc(chosen, is) && !h.keeps(s.policy.Interfaces, h.links[i]):
			reason = "the shield does not belong on this interface"
		case at.Lost():
			reason = "detached by another program"
		default:
			continue
		}
		if err := at.Close(); err != nil {
			s.log.Warn("failed to detach the shield", "interface", at.name, "error", err)
		}
		delete(s.attached, index)
		s.log.Info("shield detached", "interface", at.name, "reason", reason)
	}
}

// setAddresses passes the own addresses to the program. While it has none, the program
// passes every frame.
func (s *Shield) setAddresses(h host) {
	var attached []link
	for _, l := range h.links { // in their order
		if _, ok := s.attached[l.index]; ok {
			attached = append(attached, l)
		}
	}
	pairs := h.pairs(attached, s.request.Listen)
	if slices.Equal(pairs, s.pairs) {
		return
	}
	err := s.program.SetAddresses(pairs)
	if err == nil {
		s.pairs = pairs
	} else {
		err = fmt.Errorf("set the own addresses: %w", err)
	}
	s.report(settingAddresses, err)
}

// task is a part of reconcile that can fail.
type task uint8

const (
	readingHost task = iota
	checkingFlows
	settingAddresses
)

// report logs the error of a task, unless it is that of the last attempt.
func (s *Shield) report(t task, err error) {
	if err == nil {
		delete(s.unread, t)
		return
	}
	if text := err.Error(); text != s.unread[t] {
		s.unread[t] = text
		s.log.Error("failed to update the shield; retrying", "error", err)
	}
}

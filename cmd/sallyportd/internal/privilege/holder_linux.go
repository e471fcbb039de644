package privilege

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/guard"
	"sallyport/sessions/gate/helper"
)

// Holding is what a holder needs.
type Holding struct {
	User   string // to run as; empty: as now
	Socket string // of a holder that goes on by itself
	// Load reads from the configuration what the holder holds to. Each of its
	// callers reads it again.
	Load     func() (Held, error)
	TakeOver bool // another's table
	Clock    clock.Clock
}

// Held is what a holder holds to, by the configuration.
type Held struct {
	Owner    firewall.Owner // of the table
	Firewall firewall.Config
	Policy   helper.Policy
	// Schedule reads from which ports knocks may come.
	Schedule    func() (helper.Schedule, error)
	ClearOnExit bool // the table goes when the holder stops in order
}

func (h Held) digest() helper.Digest { return helper.DigestOf(h.Policy, h.Firewall) }

// guardTime is how long a holder that a server has started waits for the one
// before it to end.
const guardTime = 10 * time.Second

// HoldFor is the holder that a server has started: with CAP_NET_ADMIN and nothing
// else it owns the firewall's table from when the server begins, and carries out
// what the server asks for, until the server is gone. With more privileges than
// that it drops them first, and executes the same program again.
func HoldFor(h Holding, log *slog.Logger) error {
	in, err := h.drop()
	if err != nil {
		return err
	}
	// It ends when the server does, and not before.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	socket, err := in.file(socketName)
	if err != nil {
		return err
	}
	held, err := h.Load()
	if err != nil {
		return err
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	end := func() { raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) }) }
	var k *kept
	cfg := helper.Config{Policy: held.Policy, Digest: held.digest(), Schedule: held.Schedule, Clock: h.Clock, Log: log}
	cfg.Claim = func() (helper.Firewall, error) {
		ctx, cancel := context.WithTimeout(context.Background(), guardTime)
		defer cancel()
		_, err := guard.Take(ctx) // until this process ends
		if err != nil {
			return nil, err
		}
		if k, err = h.keep(held, log); err != nil {
			return nil, err
		}
		go func() {
			if <-k.lost != nil {
				end() // the server is told by that
			}
		}()
		return k.table, nil
	}
	if held.ClearOnExit {
		cfg.Exit = func() error {
			k.stop()
			return firewall.Clear()
		}
	}
	_, err = helper.Serve(socket, cfg)
	if k != nil {
		k.stop()
	}
	return err
}

// drop returns in a process that holds CAP_NET_ADMIN and nothing else.
func (h Holding) drop() (inheritance, error) {
	IgnoreHangups()
	in, err := inherited(NetAdmin)
	if err != nil {
		return in, err
	}
	if in.dropped {
		return in, in.verifyUser(h.User)
	}
	who, err := becomes(h.User)
	if err != nil {
		return in, err
	}
	return in, drop(NetAdmin, who, in.descriptors)
}

// kept is a table that is made anew whenever another program removes or changes
// it.
type kept struct {
	table *firewall.Table
	// lost gets the error after which nobody looks after the table any more, or
	// nil once stop was called.
	lost <-chan error
	stop func() // waits until nobody looks after it any more; may be called again
}

// TakeOverHint says what to do about a table that is another's.
const TakeOverHint = "if nothing needs it any more, \"sallyportd firewall clear --take-over\" removes it; --take-over here takes its place, and opens what it hides"

// keep claims the table, and looks after it until it is told to stop.
func (h Holding) keep(held Held, log *slog.Logger) (*kept, error) {
	before, err := firewall.Inspect()
	if err != nil {
		return nil, fmt.Errorf("look at the firewall's table: %w", err)
	}
	table, err := firewall.Claim(held.Firewall, held.Owner, h.TakeOver, h.Clock)
	if taken := (*firewall.OwnedError)(nil); errors.As(err, &taken) {
		return nil, hint.With(fmt.Errorf("claim the firewall's table: %w", err), TakeOverHint)
	} else if err != nil {
		return nil, fmt.Errorf("claim the firewall's table: %w", err)
	}
	log.Info("firewall table claimed; everything is closed", "found", before.Kind.String(), "owner", before.Owner.Config)
	if n := table.Strangers(); n > 0 {
		log.Warn("cut connections without a lease", "reason", "no table guarded the ports before", "cut", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	lost, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		err := table.Keep(ctx, func(r firewall.Repair) { logRepair(log, r) })
		if err != nil {
			log.Error("firewall table no longer guarded", "error", err)
		}
		lost <- err
	}()
	return &kept{table, lost, func() {
		cancel()
		<-ended
	}}, nil
}

func logRepair(log *slog.Logger, r firewall.Repair) {
	if r.Fault != "" {
		log.Warn("firewall table was changed by another program; restored", "fault", string(r.Fault), "took", r.Took, "cut", r.Cut)
	}
	if r.Err != nil {
		log.Error("firewall table only partly restored; retrying", "error", r.Err)
	}
}

// close is the last act: everything is closed, or the table is gone if the
// configuration says so.
func (k *kept) close(clear bool) error {
	k.stop()
	if err := k.table.Close(); err != nil || !clear {
		return err
	}
	return firewall.Clear()
}

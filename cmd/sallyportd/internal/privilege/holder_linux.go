package privilege

import (
	"context"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

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
	Load  func() (Held, error)
	Clock clock.Clock
}

// Held is what a holder holds to, by the configuration.
type Held struct {
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
	var k *kept
	cfg := helper.Config{Policy: held.Policy, Digest: held.digest(), Schedule: held.Schedule, Clock: h.Clock, Log: log}
	cfg.Claim = func() (helper.Firewall, error) {
		ctx, cancel := context.WithTimeout(context.Background(), guardTime)
		defer cancel()
		if _, err := guard.Take(ctx); err != nil { // until this process ends
			return nil, err
		}
		var err error
		if k, err = keep(held.Firewall, h.Clock, log); err != nil {
			return nil, err
		}
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

// kept is a table that is made anew whenever another program removes it.
type kept struct {
	table *firewall.Table
	stop  func() // waits until nobody looks after it any more; may be called again
}

// lookPause is how long the table may be gone before it is made anew.
const lookPause = 250 * time.Millisecond

// keep claims the table, and looks after it until it is told to stop.
func keep(cfg firewall.Config, c clock.Clock, log *slog.Logger) (*kept, error) {
	table, err := firewall.Claim(cfg, c)
	if err != nil {
		return nil, fmt.Errorf("claim the firewall's table: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(lookPause)
		defer tick.Stop()
		failing := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			restored, err := table.Restore()
			if restored {
				log.Warn("firewall table was removed by another program; restored")
			}
			if err != nil && !failing {
				log.Error("firewall table not restored", "error", err)
			}
			failing = err != nil
		}
	}()
	return &kept{table, func() {
		cancel()
		<-ended
	}}, nil
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

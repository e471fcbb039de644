package privilege

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/helper"
)

// Holding is what the holder holds to, by the configuration that it reads.
type Holding struct {
	User        string         // to run as; empty: as now
	Owner       firewall.Owner // of the table
	Firewall    firewall.Config
	Policy      helper.Policy
	Clock       clock.Clock
	ClearOnExit bool // the table goes when the server stops in order
}

// Hold is the holder: with CAP_NET_ADMIN and nothing else it owns the
// firewall's table, and carries out what the server asks for, until the server
// is gone. With more privileges than that it drops them first, and executes the
// same program again.
func Hold(h Holding, log *slog.Logger) error {
	IgnoreHangups()
	d, dropped, err := inherited(NetAdmin)
	if err != nil {
		return err
	}
	if !dropped {
		who, err := lookupUser(h.User)
		if err != nil {
			return err
		}
		return drop(NetAdmin, who, d)
	}
	return hold(h, d, log)
}

func hold(h Holding, d descriptors, log *slog.Logger) error {
	// It ends when the server does, and not before.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	socket, err := d.file(socketName)
	if err != nil {
		return err
	}
	table, err := firewall.Claim(h.Firewall, h.Owner, false, h.Clock)
	if err != nil {
		return fmt.Errorf("claim the firewall's table: %w", err)
	}
	stop := keep(table, log)
	ordered, err := helper.Serve(socket, helper.Config{
		Policy: h.Policy, Digest: helper.DigestOf(h.Policy, h.Firewall), Firewall: table, Clock: h.Clock, Log: log,
	})
	stop()
	if ordered && h.ClearOnExit {
		err = errors.Join(err, firewall.Clear())
	}
	return err
}

// keep makes the table anew whenever somebody else removes or changes it: to load
// other rules is often to flush all of them. It does so until it is told to stop.
func keep(table *firewall.Table, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := table.Keep(ctx, func(r firewall.Repair) {
			if r.Fault != "" {
				log.Warn("firewall table was changed by another program; restored", "fault", string(r.Fault), "took", r.Took, "cut", r.Cut)
			}
			if r.Err != nil {
				log.Error("the firewall's table cannot be looked after", "error", r.Err)
			}
		})
		if err != nil {
			log.Error("the firewall's table cannot be looked after", "error", err)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

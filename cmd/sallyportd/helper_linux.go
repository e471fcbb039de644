package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/helper"
	"sallyport/verify/schedule"
)

// hostClock is the one clock of this process: leases and what enforces them
// compare their times.
var hostClock = clock.System()

const helperName = "firewall-helper"

// helperCommand is the second process, which "serve" starts.
func helperCommand(cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:    helperName,
		Short:  "Change the firewall for a server, which starts this by itself",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			if _, again := os.LookupEnv(helperVariable); !again {
				_, _, cfg, err := readConfig(path)
				if err != nil {
					return err
				}
				who, err := becomes(cfg.user)
				if err != nil {
					return err
				}
				return shed(1<<unix.CAP_NET_ADMIN, who, append(os.Environ(), helperVariable+"="))
			}
			os.Unsetenv(helperVariable)
			// It ends when the server does, and not before.
			signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
			return help(path)
		},
	}
	addConfigFlag(c, &path)
	return c
}

func help(path string) error {
	_, _, cfg, err := readConfig(path)
	if err != nil {
		return err
	}
	table, err := firewall.Claim(cfg.firewall(), hostClock)
	if err != nil {
		return fmt.Errorf("claim the firewall's table: %w", err)
	}
	unix.CloseOnExec(4) // the lifeline, which ends with this process
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	unguard := keep(table, log)
	ordered, err := helper.Serve(os.NewFile(3, "server"), helper.Config{
		Policy: cfg.policy(), Digest: cfg.digest(), Firewall: table, Clock: hostClock, Log: log,
	})
	unguard()
	if ordered && cfg.clearOnExit {
		err = errors.Join(err, firewall.Clear())
	}
	return err
}

// lookPause is how long the table may be gone before it is made anew.
const lookPause = 250 * time.Millisecond

// keep makes the table anew whenever somebody else removes it: to load other
// rules is often to flush all of them. It does so until it is told to stop.
func keep(table *firewall.Table, log *slog.Logger) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(lookPause)
		defer tick.Stop()
		failing := false
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			restored, err := table.Restore()
			if restored {
				log.Warn("somebody has removed the firewall's table: made anew; what it hides was open for a moment")
			}
			if err != nil && !failing {
				log.Error("the firewall's table cannot be looked after", "error", err)
			}
			failing = err != nil
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// firewall is what the table is to guard: with a helper every service is
// behind it, each in the place that it has in the configuration.
func (cfg config) firewall() (f firewall.Config) {
	f.Stealth, f.Except = cfg.stealth, cfg.stealthExcept
	if cfg.challenge != nil {
		f.Captured = [2]uint16{cfg.challenge.plan.Ports.First, cfg.challenge.plan.Ports.Last}
	}
	for _, s := range cfg.services {
		p := firewall.Port{
			Service: access.ID(s.name), Protocol: firewall.TCP, Address: s.host(), Port: s.port(),
			Forward: s.forward, Reject: s.reject, Cut: s.terms.Cut,
		}
		if s.udp {
			p.Protocol = firewall.UDP
		}
		if s.kind != "firewall" {
			// The server itself ends connections; and its port looks as if
			// nothing were there, which is silent with stealth, or as if it were
			// always filtered.
			p.Cut, p.Reject = false, !s.filtered && !(f.Stealth && s.udp && p.Port >= schedule.MinPort)
		}
		f.Ports = append(f.Ports, p)
	}
	return f
}

// policy is what the server may ask of the helper.
func (cfg config) policy() helper.Policy {
	var p helper.Policy
	for _, s := range cfg.services {
		p.Services = append(p.Services, helper.Service{
			ID: access.ID(s.name), Name: s.name, OpenMax: s.terms.OpenMax, Anyone: s.terms.Anyone, PrefixLen6: s.prefixLen6,
		})
		if s.udp {
			p.Taken = append(p.Taken, s.port())
		}
	}
	return p
}

// digest is that of what the server and its helper have both to read.
func (cfg config) digest() helper.Digest { return helper.DigestOf(cfg.policy(), cfg.firewall()) }

// announces has the firewall know the ports that take knocks.
func announces(cfg config, h *helper.Client) func(map[uint16]time.Time) error {
	if h == nil {
		return nil
	}
	known := map[uint16]time.Time{}
	return func(open map[uint16]time.Time) error {
		anew := map[time.Time][]uint16{} // by their ends, which are few
		for p, until := range open {
			// Where a service listens, strangers' datagrams do not come.
			if !known[p].Equal(until) && !cfg.holdsUDP(p) {
				anew[until] = append(anew[until], p)
			}
		}
		for until, ports := range anew {
			left := time.Until(until)
			if left < time.Millisecond {
				continue // they close in this instant
			}
			if err := h.OpenKnockPorts(ports, left); err != nil {
				return fmt.Errorf("tell the firewall of the ports: %w", err)
			}
		}
		known = open
		return nil
	}
}

func (cfg config) holdsUDP(port uint16) bool {
	return slices.ContainsFunc(cfg.services, func(s serviceConfig) bool { return s.udp && s.port() == port })
}

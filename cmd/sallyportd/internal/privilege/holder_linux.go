package privilege

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/sandbox"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/guard"
	"sallyport/sessions/gate/holder"
)

// Holding is what HoldFor and HoldAlone need.
type Holding struct {
	User   string // to run as; empty: as now
	Socket string // at which HoldAlone serves
	// Load reads the holder's part of the configuration. Each call reads the file
	// again.
	Load     func() (Held, error)
	TakeOver bool // also a table of another owner
	// Shield: the configuration has the shield, so the holder keeps CAP_BPF too, if it
	// has that.
	Shield bool
	// LoadEarly loads the shield in a process that has CAP_SYS_ADMIN and lacks CAP_BPF,
	// before it drops that, and returns descriptors. TakeEarly takes them over in the
	// process that has dropped it, before the first Load.
	LoadEarly func() (map[string]int, error)
	TakeEarly func(map[string]int) error
	Clock     clock.Clock
	// Files are those that Load and the functions of Held open. Confined gets what is in force
	// in the process that has dropped its privileges, before it calls Load.
	Files    sandbox.Files
	Confined func(sandbox.Report)
	Prepare  func() // is called before that; nil: nothing is
	// HandOver is cli.Env.HandOver; nil: nothing handles signals.
	HandOver func()
}

// Held is the holder's part of the configuration.
type Held struct {
	Guards   bool           // the configuration requires the firewall; if not, the next keys do not matter
	Owner    firewall.Owner // of the table
	Firewall firewall.Config
	Policy   holder.Policy
	// Schedule reads which ports may receive knocks.
	Schedule func() (holder.Schedule, error)
	// Trial decides what is on trial in the table that replaces the one that exists; nil:
	// nothing is. Unconfirmed has the services of which the record knows no confirmation,
	// and Confirmed those of which it knows one.
	Trial       func(TrialQuestion) (TrialAnswer, error)
	Unconfirmed func() (map[access.ServiceID]bool, error)
	Confirmed   func() (map[access.ServiceID]bool, error)
	// Stopped records that the server has stopped in order.
	Stopped     func() error
	Sandbox     []byte // of this process, for the server: see holder.Config
	ClearOnExit bool   // the table is removed when the holder stops in order
	// Shield loads the shield for a server; nil: the configuration has none.
	Shield func(holder.ShieldRequest, *slog.Logger) (holder.Shield, error)
}

// TrialQuestion asks what is on trial in a table that replaces the one that exists.
type TrialQuestion struct {
	Before firewall.Standing
	// Asked is the time of a trial of what is newly hidden, and 0 if nothing is on trial from
	// now on. Nil: that of the command that has started the holder, if it had one.
	Asked *time.Duration
	// Commanded: Asked is of a command to a process that runs.
	Commanded bool
	Log       *slog.Logger
}

// TrialAnswer is what is on trial. The record has it already.
type TrialAnswer struct {
	On firewall.Trial
	// Undo takes the record back, because the table was not made; nil: it is as before.
	Undo func() error
}

// config returns the part of a holder's configuration that does not concern its table.
func (h Held) config(c clock.Clock, log *slog.Logger) holder.Config {
	cfg := holder.Config{
		Policy: h.Policy, Digest: h.digest(), Schedule: h.Schedule, Claim: holder.Unguarded, Clock: c, Log: log, Sandbox: h.Sandbox,
	}
	if load := h.Shield; load != nil {
		cfg.Shield = func(r holder.ShieldRequest) (holder.Shield, error) { return load(r, log) }
	}
	return cfg
}

func (h Held) digest() holder.Digest { return holder.DigestOf(h.Policy, h.Firewall) }

// guardTime is how long HoldFor waits for another process that guards the table.
const guardTime = 10 * time.Second

// HoldFor runs the holder that a server has started: with CAP_NET_ADMIN, CAP_BPF for
// the shield, and no other privilege it owns the firewall's table from the moment at
// which the server begins, and executes the server's requests, until the server has
// ended. With more privileges it first drops them, and executes the same program again.
func HoldFor(h Holding, log *slog.Logger) error {
	in, err := h.drop(context.Background(), log)
	if err != nil {
		return err
	}
	// It ends with the server, and not before.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	if err := continueAtEnd(); err != nil {
		return err
	}
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
	cfg := held.config(h.Clock, log)
	if !held.Guards {
		_, err = holder.Serve(socket, cfg)
		return err
	}
	cfg.Claim = func() (holder.Firewall, error) {
		ctx, cancel := context.WithTimeout(context.Background(), guardTime)
		defer cancel()
		// It is taken until this process ends.
		if _, err := takeGuard(ctx, log, func() {}); err != nil {
			return nil, err
		}
		var err error
		if k, err = h.keep(held, nil, log); err != nil {
			return nil, err
		}
		go func() {
			if <-k.lost != nil {
				end() // which the server notices
			}
		}()
		return k.table, nil
	}
	cfg.Trials = trials{func() (*kept, Held) { return k, held }, h.Load}
	if held.ClearOnExit {
		cfg.Exit = func() error {
			k.stop()
			return clearTable(log)
		}
	}
	orderly, err := holder.Serve(socket, cfg)
	if k != nil {
		k.stop()
	}
	if orderly {
		held.stopped(log)
	}
	return err
}

// takeGuard takes the guard of the table. If another process has it, takeGuard logs
// that it waits, and calls waiting.
func takeGuard(ctx context.Context, log *slog.Logger, waiting func()) (*guard.Guard, error) {
	now, cancel := context.WithCancel(ctx)
	cancel()
	lock, err := guard.Take(now)
	if !errors.Is(err, guard.ErrTaken) {
		return lock, err
	}
	log.Warn("another process guards the firewall table; waiting")
	waiting()
	return guard.Take(ctx)
}

// drop returns in a process that has CAP_NET_ADMIN, with the shield CAP_BPF, and no
// other capability. A container engine may not know CAP_BPF, and grant CAP_SYS_ADMIN
// instead: then the shield is loaded first, and the process never serves with that.
func (h Holding) drop(ctx context.Context, log *slog.Logger) (inheritance, error) {
	IgnoreHangups()
	keep := NetAdmin
	if h.Shield {
		keep |= BPF
	}
	in, err := inherited(keep)
	if err != nil {
		return in, err
	}
	if in.dropped {
		if err := in.verifyUser(h.User); err != nil {
			return in, err
		}
		if h.Prepare != nil {
			h.Prepare()
		}
		report, err := sandbox.Confine(sandbox.Holder(h.Files, h.Shield), log)
		if err != nil {
			return in, err
		}
		h.Confined(report)
		return in, h.takeEarly(in, log)
	}
	who, err := lookupUser(h.User)
	if err != nil {
		return in, err
	}
	has, err := held()
	if err != nil {
		return in, err
	}
	if has&NetAdmin == 0 {
		return in, hint.Misuse(hint.With(errors.New("the holder of the firewall requires CAP_NET_ADMIN, which this process does not have"),
			ungranted(unix.CAP_NET_ADMIN)+"start it as root, or with that capability: see container/sallyportd-firewall.service and container/compose.firewall.yaml"))
	}
	if h.Shield && has&BPF == 0 && has&SysAdmin != 0 {
		early, err := h.LoadEarly()
		if err != nil {
			log.Warn("failed to load the shield", "error", err)
		}
		for name, fd := range early {
			in.descriptors[earlyPrefix+name] = fd
		}
	}
	if err := lastSignal(ctx, h.HandOver); err != nil {
		return in, err
	}
	return in, dropAndReexec(keep&(has|NetAdmin), who, in.descriptors)
}

// takeEarly takes over a shield that drop has loaded.
func (h Holding) takeEarly(in inheritance, log *slog.Logger) error {
	early := map[string]int{}
	for name, fd := range in.descriptors {
		if of, ok := strings.CutPrefix(name, earlyPrefix); ok {
			early[of] = fd
			delete(in.descriptors, name)
		}
	}
	if len(early) == 0 {
		return nil
	}
	if !h.Shield {
		return errors.New("the configuration has changed while the holder started: it has no shield now")
	}
	if err := h.TakeEarly(early); err != nil {
		log.Warn("failed to take over the shield", "error", err)
	}
	return nil
}

// kept is a table that this process guards: it restores the table whenever another
// program removes or changes it.
type kept struct {
	table *firewall.Table
	clock clock.Clock
	log   *slog.Logger
	// lost receives the error after which the table is no longer guarded, or nil
	// once stop was called.
	lost <-chan error
	stop func() // returns when the table is no longer guarded; may be called again
	// context ends with stop, and unwatch ends the goroutine that logs the end of trials.
	context context.Context
	unwatch context.CancelFunc
	// trials is held by what reads the record of trials and then changes the table: a
	// command to the holder and one to its server may come at once.
	trials sync.Mutex
	// closedConfirmed: this process has closed services by the record, before the server's request.
	closedConfirmed bool
}

// TakeOverHint is what to do about a table of another owner.
const TakeOverHint = "if no program needs the table, \"sallyportd firewall clear --take-over\" removes it; --take-over here replaces it, which opens the services that it hides"

// keep claims the table, and guards it until stop is called. Asked is as in TrialQuestion.
func (h Holding) keep(held Held, asked *time.Duration, log *slog.Logger) (*kept, error) {
	before, err := firewall.Inspect()
	if err != nil {
		return nil, fmt.Errorf("inspect the firewall's table: %w", err)
	}
	of := held.Firewall
	trial, err := held.decideTrial(TrialQuestion{before, asked, asked != nil, log})
	if err != nil {
		return nil, err
	}
	of.Trial = trial.On
	table, err := firewall.Claim(of, held.Owner, h.TakeOver, h.Clock)
	if err != nil {
		err = fmt.Errorf("claim the firewall's table: %w", err)
	}
	var owned *firewall.OwnedError
	if errors.As(err, &owned) {
		err = hint.With(err, TakeOverHint)
	}
	if errors.Is(err, firewall.ErrTrialLabels) {
		err = hint.With(err, "nothing was hidden; a kernel with these labels can have a trial, and without --trial the services are hidden at once")
	}
	if err != nil {
		return nil, errors.Join(err, trial.unlessMade())
	}
	if len(of.Trial) == 0 {
		log.Info("firewall table claimed; everything is closed", "found", before.Kind.String(), "owner", before.Owner.Config)
	} else {
		log.Info("firewall table claimed; some services are on trial", "found", before.Kind.String(), "owner", before.Owner.Config)
		held.logTrial(log, of.Trial, h.Clock)
	}
	logJumps(log, table.Jumps())
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
	k := &kept{table: table, clock: h.Clock, log: log, lost: lost, context: ctx, stop: func() {
		cancel()
		<-ended
	}}
	k.watch(held)
	return k, nil
}

func logRepair(log *slog.Logger, r firewall.Repair) {
	if r.Fault != "" {
		log.Warn("firewall table was changed by another program; restored", "fault", string(r.Fault), "took", r.Took, "cut", r.Cut)
	}
	logJumps(log, r.Jumps)
	if r.Err != nil {
		log.Error("firewall table only partly restored; retrying", "error", r.Err)
	}
}

// close leaves the table closed, or removes it if clear is set.
func (k *kept) close(clear bool) error {
	k.stop()
	if err := k.table.Close(); err != nil || !clear {
		return err
	}
	return clearTable(k.log)
}

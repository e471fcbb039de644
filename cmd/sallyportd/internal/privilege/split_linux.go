package privilege

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/hint"
	"sallyport/ingest/capture"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/gate/runner"
	"sallyport/verify/schedule"
)

// Plan lists what a configuration requires privileges for.
type Plan struct {
	User     string   // to run as; empty: as now
	Holder   string   // what requires a holder of the firewall; empty: nothing does
	Shield   bool     // a holder loads the shield, if it has the capabilities
	Instead  string   // how to require no holder; empty: nothing simple does
	Socket   string   // at which "firewall hold" answers, if it runs
	Command  []string // the arguments with which this program starts a holder otherwise
	LowPorts bool     // ports are bound that require CAP_NET_BIND_SERVICE
	// Capture has the packets to capture, which requires CAP_NET_RAW; nil: none.
	Capture *capture.Settings
	// Capturer has the arguments with which this program starts the process that
	// captures.
	Capturer []string
	// Programs are those that the server may start: a process for each of their users
	// does, which requires CAP_SETUID and CAP_SETGID.
	Programs []program.Program
	// Runner has the arguments with which this program starts such a process.
	Runner []string
	// Stored are descriptors of the service manager's store, for the server.
	Stored []int
	// HandOver is cli.Env.HandOver; nil: nothing handles signals.
	HandOver func()
}

// Split starts the holder, if the plan requires one and none answers, opens the
// sockets that capture packets, starts the process that reads them and the processes
// that start programs, and drops every privilege of this process that the plan does
// not require: it executes the same program again, which calls Resume instead. It
// returns only if it fails, or ctx has ended.
func Split(ctx context.Context, p Plan, h Host) error {
	who, err := lookupUser(p.User)
	if err != nil {
		return err
	}
	starts := (p.Holder != "" || p.Shield && h.Shield()) && !answers(ctx, p.Socket, who)
	if starts && !h.NetAdmin() {
		instead := ""
		if p.Instead != "" {
			instead = p.Instead + "; or "
		}
		return hint.Misuse(hint.With(fmt.Errorf("%s requires CAP_NET_ADMIN, which this process does not have, and no holder of the firewall answers at %s", p.Holder, p.Socket),
			ungranted(unix.CAP_NET_ADMIN)+instead+"start \"sallyportd firewall hold\" first; or start the server as root, or with that capability only: see container/sallyportd-firewall.service and container/compose.firewall.yaml"))
	}
	if p.Capture != nil && !h.NetRaw() {
		return hint.Misuse(hint.With(errors.New("[challenge] with capture = \"packet\" requires CAP_NET_RAW, which this process does not have"),
			ungranted(unix.CAP_NET_RAW)+fmt.Sprintf("start the server as root or with that capability; or set capture = \"sockets\", with a range of ports below %d", schedule.MinPort)))
	}
	if err := checkPrograms(p.Programs, p.User, h); err != nil {
		return err
	}
	var keep Set
	if p.LowPorts {
		keep |= h.Held & BindLow
	}
	left := descriptors{}
	if starts {
		if left, err = startHolder(p.Command); err != nil {
			return fmt.Errorf("start the firewall's holder: %w", err)
		}
	}
	if p.Capture != nil {
		connection, err := startCapturer(*p.Capture, p.Holder != "", p.Capturer)
		if err != nil {
			return err
		}
		left[capturerName] = connection
	}
	runners, err := startRunners(p, h)
	if err != nil {
		return err
	}
	maps.Copy(left, runners)
	left.passStored(p.Stored)
	// The processes that this one has started end with it.
	if err := lastSignal(ctx, p.HandOver); err != nil {
		return err
	}
	return dropAndReexec(keep, who, left)
}

// lastSignal returns the error of ctx if a signal has asked this process to stop: the
// program that it executes next does not know of that. One that comes later ends the
// process at once, whichever of the two programs it meets.
func lastSignal(ctx context.Context, handOver func()) error {
	if handOver != nil {
		handOver()
	}
	return ctx.Err()
}

// answers reports whether "firewall hold" answers at a socket. A process of root that
// lacks CAP_DAC_OVERRIDE may not connect to the socket of the server's user, so that
// user is asked too.
func answers(ctx context.Context, socket string, who *identity) (found bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if who == nil {
		return holder.Answers(ctx, socket)
	}
	ask := func() { found = holder.Answers(ctx, socket, uint32(who.uid)) }
	if ask(); !found && who.as(ask) != nil {
		return false
	}
	return found
}

// Resumed is what Split passes to the program that it executes.
type Resumed struct {
	// Client is the connection to the holder that Split has started; nil: it has
	// started none.
	Client *holder.Conn
	// Capturer is the connection to the process that captures packets; nil: none does.
	Capturer *os.File
	// Stored are descriptors of the service manager's store.
	Stored []*os.File
	// Dropped is false if this program has not been through Split.
	Dropped bool

	runners map[int]runner.Link // by the number of the user
	from    inheritance
}

// Resume takes over what Split passes on.
func Resume(time clock.Clock) (r Resumed, err error) {
	in, err := inherited(BindLow)
	r = Resumed{Dropped: in.dropped, from: in}
	if err != nil || !in.dropped {
		return r, err
	}
	r.Stored = in.takeStored()
	if in.has(capturerName) {
		unix.SetNonblock(in.descriptors[capturerName], true)
		if r.Capturer, err = in.file(capturerName); err != nil {
			return r, err
		}
	}
	if r.runners, err = in.takeRunners(); err != nil || len(in.descriptors) == 0 {
		return r, err
	}
	socket, err := in.file(socketName)
	if err != nil {
		return r, err
	}
	lifeline, err := in.file(lifelineName)
	if err != nil {
		socket.Close()
		return r, err
	}
	r.Client, err = holder.NewConn(socket, lifeline, time)
	return r, err
}

// VerifyUser fails if this process, having dropped its privileges, does not run
// as the user of the configuration.
func (r Resumed) VerifyUser(name string) error { return r.from.verifyUser(name) }

// startHolder starts the holder, and returns the descriptors that are connected
// to it. It does not wait for the holder to be ready.
func startHolder(command []string) (descriptors, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	theirs, lifeline := os.NewFile(uintptr(pair[1]), socketName), os.NewFile(uintptr(pipe[1]), lifelineName)
	defer theirs.Close()
	defer lifeline.Close()
	cmd := exec.Command("/proc/self/exe", command...)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = os.Stderr
	passFiles(cmd, map[string]*os.File{socketName: theirs, lifelineName: lifeline})
	// A signal from the terminal is for the server, which ends the holder in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return descriptors{socketName: pair[0], lifelineName: pipe[0]}, nil
}

// IgnoreHangups keeps SIGHUP from ending this process, the next programs
// that it executes included, until signal.Notify asks for it.
func IgnoreHangups() { signal.Ignore(syscall.SIGHUP) }

package privilege

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/helper"
	"sallyport/verify/schedule"
)

// Plan is what a configuration requires of privileges.
type Plan struct {
	User     string   // to run as; empty: as now
	Helper   string   // why a holder of the firewall is required; empty: none is
	Socket   string   // where a holder answers that goes on by itself, if there is one
	Command  []string // how one is started otherwise: the arguments of this program
	LowPorts bool     // ports are bound that require CAP_NET_BIND_SERVICE
	Capture  bool     // packets are captured, which requires CAP_NET_RAW
}

// Split starts the holder, if the plan has one and none answers, and drops every
// privilege of this process: it executes the same program again, in which Resume
// then takes the place of this. It returns only with an error.
func Split(ctx context.Context, p Plan, h Host) error {
	who, err := becomes(p.User)
	if err != nil {
		return err
	}
	starts := p.Helper != "" && !answers(ctx, p.Socket, who)
	if starts && !h.NetAdmin() {
		return hint.Misuse(hint.With(fmt.Errorf("%s takes CAP_NET_ADMIN, which this process does not have, and no holder of the firewall answers at %s", p.Helper, p.Socket),
			"start \"sallyportd firewall hold\" first; or start this as root, or with that capability alone: container/sallyportd-firewall.service and container/compose.firewall.yaml show how"))
	}
	if p.Capture && !h.NetRaw() {
		return hint.Misuse(hint.With(errors.New("[challenge] with capture = \"packet\" takes CAP_NET_RAW, which this process does not have"),
			fmt.Sprintf("start it as root or with that capability; or, with a range of ports below %d, capture = \"sockets\"", schedule.MinPort)))
	}
	var keep Set
	if p.LowPorts {
		keep |= h.Held & BindLow
	}
	if p.Capture {
		keep |= NetRaw
	}
	left := descriptors{}
	if starts {
		if left, err = startHolder(p.Command); err != nil {
			return fmt.Errorf("start the firewall's holder: %w", err)
		}
	}
	return drop(keep, who, left)
}

// answers reports whether a holder answers that goes on by itself.
func answers(ctx context.Context, socket string, who *identity) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if who == nil {
		return helper.Answers(ctx, socket)
	}
	return helper.Answers(ctx, socket, uint32(who.uid))
}

// Resumed is what Split has left.
type Resumed struct {
	// Client leads to a holder that Split has started; nil: it has not.
	Client *helper.Conn
	// Dropped is false if this program has not been through Split.
	Dropped bool

	from inheritance
}

// Resume takes over what Split has left.
func Resume(time clock.Clock) (r Resumed, err error) {
	in, err := inherited(BindLow | NetRaw)
	r = Resumed{Dropped: in.dropped, from: in}
	if err != nil || !in.dropped || len(in.descriptors) == 0 {
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
	r.Client, err = helper.NewConn(socket, lifeline, time)
	return r, err
}

// VerifyUser holds this process to the user of the configuration.
func (r Resumed) VerifyUser(name string) error { return r.from.verifyUser(name) }

// startHolder starts the second process, and returns the descriptors that lead
// to it. It waits for nothing.
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
	hand(cmd, map[string]*os.File{socketName: theirs, lifelineName: lifeline})
	// A key at the terminal is for the server, which ends the holder in time.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return descriptors{socketName: pair[0], lifelineName: pipe[0]}, nil
}

// IgnoreHangups keeps SIGHUP from ending this process, the next programs
// that it executes included, until signal.Notify asks for it.
func IgnoreHangups() { signal.Ignore(syscall.SIGHUP) }

package privilege

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

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
	Command  []string // how it is started: the arguments of this program
	LowPorts bool     // ports are bound that require CAP_NET_BIND_SERVICE
	Capture  bool     // packets are captured, which requires CAP_NET_RAW
}

// Split starts the holder, if the plan has one, and drops every privilege of
// this process: it executes the same program again, in which Resume then takes
// the place of this. It returns only with an error.
func Split(p Plan, h Host) error {
	if p.Helper != "" && !h.NetAdmin() {
		return hint.Misuse(hint.With(fmt.Errorf("%s takes CAP_NET_ADMIN, which this process does not have", p.Helper),
			"start it as root, or with that capability alone: container/sallyportd.service and container/compose.firewall.yaml show how"))
	}
	if p.Capture && !h.NetRaw() {
		return hint.Misuse(hint.With(errors.New("[challenge] with capture = \"packet\" takes CAP_NET_RAW, which this process does not have"),
			fmt.Sprintf("start it as root or with that capability; or, with a range of ports below %d, capture = \"sockets\"", schedule.MinPort)))
	}
	who, err := lookupUser(p.User)
	if err != nil {
		return err
	}
	var keep Set
	if p.LowPorts {
		keep |= h.Held & BindLow
	}
	if p.Capture {
		keep |= NetRaw
	}
	left := descriptors{}
	if p.Helper != "" {
		if left, err = startHolder(p.Command); err != nil {
			return fmt.Errorf("start the privileged helper: %w", err)
		}
	}
	return drop(keep, who, left)
}

// Resume takes over what Split has left: the connection to the holder, nil if
// there is none. Dropped is false if this program has not been through Split.
func Resume(time clock.Clock) (c *helper.Client, dropped bool, err error) {
	d, dropped, err := inherited(BindLow | NetRaw)
	if err != nil || !dropped || len(d) == 0 {
		return nil, dropped, err
	}
	socket, err := d.file(socketName)
	if err != nil {
		return nil, true, err
	}
	lifeline, err := d.file(lifelineName)
	if err != nil {
		socket.Close()
		return nil, true, err
	}
	c, err = helper.NewClient(socket, lifeline, time)
	return c, true, err
}

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

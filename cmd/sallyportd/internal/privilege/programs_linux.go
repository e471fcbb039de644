package privilege

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/runner"
)

// RunPrograms is the process that starts programs for a server that has started it,
// until the server has ended, as the user that the programs run as. It executes the
// same program again as that user. No other process of the user can trace it, at any
// moment, as in CaptureFor: until PR_SET_DUMPABLE protects it, it keeps a capability,
// which the other process lacks.
func RunPrograms(time clock.Clock, log *slog.Logger) error {
	// It ends with the server, and not before. A program would inherit a signal that
	// is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	in, err := inherited(SetIDs)
	if err != nil {
		return err
	}
	has, err := held()
	if err != nil {
		return err
	}
	policy, ok := in.descriptors[runnerPolicy]
	if !ok {
		return fmt.Errorf("%s has no %s", variable, runnerPolicy)
	}
	programs, err := runner.ReadPolicy(policy)
	if err != nil {
		return err
	}
	if len(programs) == 0 {
		return errors.New("no programs")
	}
	if !in.dropped {
		in.enterGroup()
		if complete, err := in.reportNamespaces(); err != nil || !complete {
			return err
		}
		who, err := lookupOther(programs[0].User)
		if err != nil {
			return err
		}
		return dropAndReexec(has&SetIDs, who, in.descriptors)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("protect this process from others: PR_SET_DUMPABLE: %w", err)
	}
	if err := in.verifyUser(programs[0].User); err != nil {
		return err
	}
	if has != 0 {
		if err := dropHere(in.descriptors); err != nil {
			return err
		}
	}
	server, err := in.file(runnerName)
	if err != nil {
		return err
	}
	lifeline, err := in.file(runnerLife)
	if err != nil {
		return err
	}
	var groups *os.File
	if in.has(runnerGroups) {
		if groups, err = in.file(runnerGroups); err != nil {
			return err
		}
	}
	log.Info("programs can be started", "user", programs[0].User, "isolated", first(), "cgroup", groups != nil)
	return runner.Serve(server, runner.Config{Programs: programs, Lifeline: lifeline, Groups: groups, Clock: time, Log: log})
}

// reportNamespaces reports to the process that has started this one whether the
// namespaces of this process are complete. In a namespace of processes, /proc must
// show the processes of that namespace: a program finds itself there by its number.
// The host may forbid the mount; the other process then starts this one without
// namespaces.
func (in inheritance) reportNamespaces() (complete bool, err error) {
	status, err := in.file(runnerStatus)
	if err != nil {
		return false, err
	}
	defer status.Close()
	if first() && (unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "") != nil ||
		unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "") != nil) {
		return false, nil
	}
	_, err = status.Write([]byte{ready})
	return err == nil, err
}

// first reports whether this is the first process of a namespace of processes, with
// which the kernel kills all others there.
func first() bool { return os.Getpid() == 1 }

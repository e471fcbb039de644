package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The hidden commands, by which this program is executed again.
const (
	superviseName = "program-supervisor"
	executeName   = "program-execute"
)

// The descriptors of a supervisor, after the standard streams, which are those of the
// program.
const (
	controlFD  = 3 // to the runner
	orderFD    = 4
	groupFD    = 5 // cgroup.procs of its control group, or /dev/null
	lifelineFD = 6 // open as long as it lives
	listenerFD = 7 // if the program inherits one
)

// The time between two signals to all children, while some do not end.
const (
	minSweep = 2 * time.Millisecond
	maxSweep = 250 * time.Millisecond
)

// Helper runs this process as a supervisor, or as the step before a program, and exits,
// if the arguments of the process require that. It must be called first in main: each
// run of a program starts these.
func Helper() {
	if len(os.Args) < 2 || os.Args[1] != superviseName && os.Args[1] != executeName {
		return
	}
	var err error
	if os.Args[1] == superviseName {
		err = supervise()
	} else {
		err = execute()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	os.Exit(0)
}

// supervisor starts a program, adopts all its orphans, and kills all of them in the
// end.
type supervisor struct {
	family
	control *os.File
	main    int // the program's first process; 0: it was reaped
	killing bool
}

// supervise is the process between the runner and the processes of a run. When it
// returns, none of them is left.
func supervise() error {
	if len(os.Args) != 2 {
		return errors.New("the server starts this command itself")
	}
	// The user of the program cannot trace this process.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_DUMPABLE: %w", err)
	}
	// It ends with the runner, and not before. The program would inherit a signal that
	// is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP,
		syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2)
	for fd := controlFD; fd <= listenerFD; fd++ {
		unix.CloseOnExec(fd)
	}
	kind, err := unix.GetsockoptInt(controlFD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return errors.New("the server starts this command itself")
	}
	if err := adopt(); err != nil {
		return err
	}
	unix.SetNonblock(controlFD, true)
	s := &supervisor{control: os.NewFile(controlFD, "control")}
	o, err := readOrder(os.NewFile(orderFD, "order"))
	if err != nil {
		return err
	}
	enterGroup()
	go s.commands()
	// The kernel kills the program when the thread ends that has started it.
	runtime.LockOSThread()
	if s.main, err = start(o); err != nil {
		s.report(report{kind: reportFailed, err: err.Error()})
		return nil
	}
	s.report(report{kind: reportStarted, pid: uint32(s.main)})
	s.reap()
	return nil
}

// report sends a report. An error means that the runner has ended, which commands
// notices.
func (s *supervisor) report(r report) { s.control.Write(r.append(nil)) }

// commands executes the runner's commands. When the connection ends, it kills.
func (s *supervisor) commands() {
	b := make([]byte, 2)
	for {
		n, err := s.control.Read(b)
		if err != nil || n != 1 || b[0] != commandTerminate {
			s.kill()
			return
		}
		s.Lock()
		s.signal(unix.SIGTERM)
		s.Unlock()
	}
}

// kill kills all processes, until this process exits because none is left. Reap kills
// those that another one has made in time.
func (s *supervisor) kill() {
	for pause := minSweep; ; pause = min(2*pause, maxSweep) {
		s.Lock()
		s.signal(unix.SIGKILL)
		s.killing = true
		s.Unlock()
		time.Sleep(pause)
	}
}

// reap reaps children until none is left.
func (s *supervisor) reap() {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // ECHILD
			return
		}
		s.Lock()
		s.reapAll()
		if s.killing {
			s.signal(unix.SIGKILL) // the orphans of those that were reaped
		}
		s.Unlock()
	}
}

// reapAll reaps all children that have ended. The caller holds the lock.
func (s *supervisor) reapAll() {
	var ended *report
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG|unix.WALL, nil)
		if err != nil || pid == 0 {
			if ended != nil {
				ended.left = err == nil // some child still runs
				s.report(*ended)
			}
			return
		}
		if pid == s.main {
			s.main, ended = 0, &report{kind: reportEnded, status: uint32(status)}
		}
	}
}

// start starts a program, in a new session and process group.
func start(o order) (pid int, err error) {
	files := []uintptr{0, 1, 2}
	if o.Listener {
		files = append(files, listenerFD)
	}
	attr := &syscall.ProcAttr{Files: files, Env: o.Env, Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL}}
	if !o.needsStep() {
		if err := o.prepare(); err != nil {
			return 0, err
		}
		if pid, err = syscall.ForkExec(o.Args[0], o.Args, attr); err != nil {
			return 0, fmt.Errorf("execute %s: %w", o.Args[0], err)
		}
		return pid, nil
	}
	var status [2]int
	if err := unix.Pipe2(status[:], unix.O_CLOEXEC); err != nil {
		return 0, os.NewSyscallError("pipe2", err)
	}
	failure := os.NewFile(uintptr(status[0]), "status")
	defer failure.Close()
	attr.Files = append(files, orderFD, uintptr(status[1]))
	attr.Env = nil
	pid, err = syscall.ForkExec("/proc/self/exe", []string{os.Args[0], executeName, strconv.Itoa(len(files))}, attr)
	unix.Close(status[1])
	if err != nil {
		return 0, fmt.Errorf("execute this program: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(failure, maxError))
	if err != nil || len(text) > 0 {
		unix.Kill(pid, unix.SIGKILL)
		unix.Wait4(pid, nil, 0, nil)
		return 0, errors.Join(err, errors.New(string(text)))
	}
	return pid, nil
}

package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fewFiles is how many open files a supervisor requires itself.
const fewFiles = 64

// needsStep reports whether a supervisor cannot execute the program itself: limits
// would bind the supervisor too, and only the process of the program knows the number
// that LISTEN_PID requires. The step costs as much as the supervisor itself.
func (o order) needsStep() bool {
	return o.Listener || o.Limits.Memory != 0 || o.Limits.Processes != 0 || o.Limits.Files != 0 && o.Limits.Files < fewFiles
}

// execute is the step before a program: the process of the program, which becomes it.
// The argument is the number of descriptors that the program gets; the order and a
// pipe for the error come after.
func execute() error {
	count := 0
	if len(os.Args) == 3 {
		count, _ = strconv.Atoi(os.Args[2])
	}
	if count != 3 && count != 4 {
		return errors.New("the server starts this command itself")
	}
	unix.CloseOnExec(count)
	unix.CloseOnExec(count + 1)
	status := os.NewFile(uintptr(count+1), "status")
	o, err := readOrder(os.NewFile(uintptr(count), "order"))
	if err == nil {
		err = o.prepare()
	}
	if err == nil {
		env := o.Env
		if o.Listener {
			env = append(env, "LISTEN_FDS=1", "LISTEN_FDNAMES=listener", "LISTEN_PID="+strconv.Itoa(os.Getpid()))
		}
		err = fmt.Errorf("execute %s: %w", o.Args[0], syscall.Exec(o.Args[0], o.Args, env))
	}
	io.WriteString(status, truncate(err.Error(), maxError))
	return err
}

// prepare gives this process all that an order requires and that a program keeps. The
// caller starts or becomes the program on the thread that it is on.
func (o order) prepare() error {
	runtime.LockOSThread()
	if err := os.Chdir(o.Dir); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	unix.Umask(0o022)
	if err := defaultSignals(); err != nil {
		return err
	}
	// Last: this process itself needs memory.
	for _, l := range []struct {
		name  string
		which int
		value uint64
		set   bool
	}{
		{"RLIMIT_CORE", unix.RLIMIT_CORE, 0, true},
		{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, o.Limits.Files, o.Limits.Files != 0},
		{"RLIMIT_NPROC", unix.RLIMIT_NPROC, o.Limits.Processes, o.Limits.Processes != 0},
		{"RLIMIT_AS", unix.RLIMIT_AS, o.Limits.Memory, o.Limits.Memory != 0},
	} {
		if !l.set {
			continue
		}
		// No process without privileges can raise a hard limit: a lower one stays, and
		// is stricter.
		var own syscall.Rlimit
		if err := syscall.Getrlimit(l.which, &own); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		own.Max = min(l.value, own.Max)
		own.Cur = own.Max
		// Of package syscall: it then does not restore the limit that the process
		// began with.
		if err := syscall.Setrlimit(l.which, &own); err != nil {
			return fmt.Errorf("%s = %d: %w", l.name, own.Max, err)
		}
	}
	return nil
}

// signals is how many signals the kernel has; signal numbers begin with 1.
const signals = 64

// defaultSignals makes the next program begin with no signal blocked or ignored,
// whatever this process began with: an execve resets handlers only. SIGPIPE is ignored
// by many programs that start servers.
func defaultSignals() error {
	action := struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}{}
	for n := uintptr(1); n <= signals; n++ {
		if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0); e != 0 {
			continue
		}
		const ignored = 1 // SIG_IGN
		if action.handler != ignored {
			continue
		}
		action.handler = 0 // SIG_DFL
		if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); e != 0 {
			return fmt.Errorf("reset signal %d: %w", n, e)
		}
	}
	var none unix.Sigset_t
	return os.NewSyscallError("rt_sigprocmask", unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil))
}

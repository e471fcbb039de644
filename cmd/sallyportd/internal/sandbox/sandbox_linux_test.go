//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sallyport/bench/race"
)

const (
	profileVariable = "SANDBOX_PROFILE" // of a process that applies one
	tryVariable     = "SANDBOX_TRY"     // what that process then tries
)

var profiles = map[string]Profile{"server": Server(testFiles(), false), "capturer": Capturer, "holder": Holder(testFiles(), false), "shield": Holder(testFiles(), true), "programs": Server(testFiles(), true)}

func TestMain(m *testing.M) {
	maps.Copy(attempts, fileAttempts)
	name := os.Getenv(profileVariable)
	os.Unsetenv(profileVariable)
	switch name {
	case "":
	case withoutSeccomp:
		unconfined(unix.ENOSYS)
		return
	case forbiddenSeccomp:
		unconfined(unix.EPERM)
		return
	case withoutLandlock:
		withFiles(unix.EOPNOTSUPP)
		return
	case forbiddenLandlock:
		withFiles(unix.EPERM)
		return
	case filesOnly:
		restrictFiles()
		return
	default:
		confined(profiles[name], os.Getenv(tryVariable))
		return
	}
	race.Children()
	os.Exit(m.Run())
}

// confined applies a profile after other threads have begun, and tries one thing on
// another thread.
func confined(p Profile, try string) {
	tried := make(chan error)
	begin := make(chan bool)
	go func() {
		<-begin
		tried <- attempts[try].do()
	}()
	if _, err := Confine(p, slog.New(slog.DiscardHandler)); err != nil {
		fmt.Println("confine:", err)
		os.Exit(3)
	}
	close(begin)
	if err := <-tried; err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// ending is the result of an attempt.
type ending string

const (
	works   ending = "works"
	killed  ending = "killed by SIGSYS"
	unknown ending = "ENOSYS"
	denied  ending = "EACCES"

	forbidden ending = "EPERM"
)

type attempt struct {
	do   func() error
	want map[string]ending // by profile; "" is the others
}

func raw(number uintptr, arguments ...uintptr) func() error {
	var a [3]uintptr
	copy(a[:], arguments)
	return func() error {
		if _, _, e := syscall.Syscall(number, a[0], a[1], a[2]); e != 0 {
			return e
		}
		return nil
	}
}

func socket(family, kind int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

func everywhere(e ending) map[string]ending { return map[string]ending{"": e} }

var attempts = map[string]attempt{
	"a program": {func() error { _, err := os.StartProcess("/bin/true", nil, new(os.ProcAttr)); return err }, everywhere(unknown)},
	"exec":      {func() error { return syscall.Exec("/proc/self/exe", nil, nil) }, everywhere(killed)},
	"ptrace":    {func() error { return unix.PtraceAttach(os.Getppid()) }, everywhere(killed)},
	"memory of another process": {func() error {
		_, err := unix.ProcessVMReadv(os.Getppid(), nil, nil, 0)
		return err
	}, everywhere(killed)},
	"a kernel module":                       {func() error { return unix.InitModule(nil, "") }, everywhere(killed)},
	"a kernel module of a file":             {func() error { return unix.FinitModule(0, "", 0) }, everywhere(killed)},
	"another kernel":                        {raw(unix.SYS_KEXEC_LOAD), everywhere(killed)},
	"a new namespace":                       {func() error { return unix.Unshare(unix.CLONE_NEWUSER) }, everywhere(killed)},
	"a namespace of another":                {func() error { return unix.Setns(0, 0) }, everywhere(killed)},
	"a process in a new namespace":          {raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD)), everywhere(killed)},
	"clone3":                                {func() error { return raw(unix.SYS_CLONE3, uintptr(unsafe.Pointer(new([88]byte))), 88)() }, everywhere(unknown)},
	"mount":                                 {func() error { return unix.Mount("", "/", "", unix.MS_SLAVE, "") }, everywhere(killed)},
	"io_uring":                              {raw(unix.SYS_IO_URING_SETUP), everywhere(killed)},
	"a number that is not assigned":         {raw(6000), everywhere(unknown)},
	"a packet socket":                       {socket(unix.AF_PACKET, unix.SOCK_RAW), everywhere(killed)},
	"a socket of the kernel's cryptography": {socket(unix.AF_ALG, unix.SOCK_SEQPACKET), everywhere(killed)},
	"a socket of virtual machines":          {socket(unix.AF_VSOCK, unix.SOCK_STREAM), everywhere(killed)},
	"an IPv4 socket":                        {socket(unix.AF_INET, unix.SOCK_DGRAM), map[string]ending{"": works, "capturer": killed}},
	"a Unix socket":                         {socket(unix.AF_UNIX, unix.SOCK_STREAM), everywhere(works)},
	"a netlink socket":                      {socket(unix.AF_NETLINK, unix.SOCK_RAW), everywhere(works)},
	"bpf": {func() error { // a wrong size: the kernel itself refuses it
		if err := raw(unix.SYS_BPF, ^uintptr(0)>>1, 0, 0)(); errors.Is(err, unix.ENOSYS) {
			return err
		}
		return nil
	}, map[string]ending{"": killed, "shield": works}},
	"a file":                {func() error { _, err := os.ReadFile("/proc/self/status"); return err }, deniedIn("capturer")},
	"a new file":            {newFile, deniedIn()},
	"a directory":           {func() error { _, err := os.ReadDir("/"); return err }, deniedIn()},
	"a ruleset of Landlock": {raw(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION), everywhere(unknown)},
	"threads and time": {func() error {
		done := make(chan error, 64)
		for range cap(done) {
			go func() {
				time.Sleep(time.Millisecond)
				done <- unix.Getrusage(unix.RUSAGE_SELF, new(unix.Rusage))
			}()
		}
		var err error
		for range cap(done) {
			err = errors.Join(err, <-done)
		}
		return err
	}, everywhere(works)},
}

// TestSandboxOfEachProcess: what a process does not need fails in it, on each thread.
func TestSandboxOfEachProcess(t *testing.T) {
	for profile := range profiles {
		for name, a := range attempts {
			t.Run(profile+"/"+name, func(t *testing.T) {
				t.Parallel()
				dir := makeFiles(t)
				want, ok := a.want[profile]
				if !ok {
					want = a.want[""]
				}
				cmd := exec.Command("/proc/self/exe")
				cmd.Env = append(os.Environ(), profileVariable+"="+profile, tryVariable+"="+name, filesVariable+"="+dir)
				text, err := cmd.CombinedOutput()
				got := ending(strings.TrimSpace(string(text)))
				switch status := cmd.ProcessState.Sys().(syscall.WaitStatus); {
				case err == nil:
					got = works
				case status.Signaled() && status.Signal() == syscall.SIGSYS:
					got = killed
				case strings.Contains(string(text), syscall.ENOSYS.Error()) && status.ExitStatus() == 1:
					got = unknown
				case strings.Contains(string(text), syscall.EPERM.Error()) && status.ExitStatus() == 1:
					got = forbidden
				case strings.Contains(string(text), syscall.EACCES.Error()) && status.ExitStatus() == 1:
					got = denied
				}
				if got != want {
					t.Errorf("%q, %v; want %q", got, err, want)
				}
			})
		}
	}
}

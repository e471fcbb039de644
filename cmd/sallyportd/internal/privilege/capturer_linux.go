package privilege

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/sandbox"
	"sallyport/ingest/capture"
	"sallyport/sessions/gate/firewall"
)

// startCapturer opens the sockets that capture packets, and starts the process that
// reads them. It returns a descriptor of the connection to it. Held: a holder of the
// firewall runs, whose table recognises the answers.
func startCapturer(s capture.Settings, held bool, command []string) (int, error) {
	var mark uint32
	if held {
		mark = firewall.AnswerMark
	}
	sockets, err := capture.OpenSockets(s, mark)
	if err != nil {
		return -1, err
	}
	defer sockets.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), capturerName)
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", command...)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = os.Stderr
	files := sockets.Files()
	files[capturerName] = theirs
	passFiles(cmd, files)
	// A signal from the terminal is for the server, with which the process ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		unix.Close(pair[0])
		return -1, fmt.Errorf("start the process that captures packets: %w", err)
	}
	return pair[0], nil
}

// Capturing is what CaptureFor needs.
type Capturing struct {
	User     string // to run as; empty: as now
	Settings capture.Settings
}

// CaptureFor runs the process that captures packets for a server that has started
// it, until the server has ended. It executes the same program again as the user, and
// has no privileges when it begins: the sockets are open. No other process of its
// user can take the sockets out of it, at any moment: until PR_SET_DUMPABLE protects
// it, it keeps CAP_NET_RAW, which the other process lacks (ptrace(2)). The
// runtime can drop a capability later only in a program without cgo. With cgo,
// CaptureFor executes the program once more, and there is a moment without protection.
func CaptureFor(c Capturing, log *slog.Logger) error {
	// It ends with the server, and not before.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	in, err := inherited(NetRaw)
	if err != nil {
		return err
	}
	has, err := held()
	if err != nil {
		return err
	}
	if !in.dropped {
		who, err := lookupUser(c.User)
		if err != nil {
			return err
		}
		return dropAndReexec(has&NetRaw, who, in.descriptors)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("protect the sockets from other processes: PR_SET_DUMPABLE: %w", err)
	}
	if err := in.verifyUser(c.User); err != nil {
		return err
	}
	if has != 0 {
		if err := dropHere(in.descriptors); err != nil {
			return err
		}
	}
	if err := continueAtEnd(); err != nil {
		return err
	}
	confined, err := sandbox.Confine(sandbox.Capturer, log)
	if err != nil {
		return err
	}
	if !in.has(capturerName) {
		return fmt.Errorf("%s has no %s", variable, capturerName)
	}
	unix.SetNonblock(in.descriptors[capturerName], true)
	server, err := in.file(capturerName)
	if err != nil {
		return err
	}
	sockets, err := capture.InheritSockets(in.descriptors)
	if err != nil {
		server.Close()
		return err
	}
	return capture.Serve(context.Background(), server, sockets, c.Settings, confined.Text(), log)
}

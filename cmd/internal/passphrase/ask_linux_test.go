package passphrase

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is also the process that asks on its terminal.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "ask" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		text, err := Ask(ctx, "for \x1b[2Jwork")
		fmt.Printf("%q %v\n", text, err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func dup(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// pseudoTerminal returns the two ends of a terminal.
func pseudoTerminal(t *testing.T) (control, terminal *os.File) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { control.Close() })
	n, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return control, terminal
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return mode.Lflag&unix.ECHO != 0
}

// asking starts the process, and waits until it asks without echo.
func asking(t *testing.T) (cmd *exec.Cmd, out *strings.Builder, control, terminal *os.File) {
	t.Helper()
	control, terminal = pseudoTerminal(t)
	out = new(strings.Builder)
	cmd = exec.Command(os.Args[0], "ask")
	cmd.Stdout = out
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	cmd.ExtraFiles = []*os.File{terminal}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for echoes(t, terminal) {
		time.Sleep(time.Millisecond)
	}
	return cmd, out, control, terminal
}

func TestAsk(t *testing.T) {
	t.Parallel()
	cmd, out, control, terminal := asking(t)
	io.WriteString(control, "open sesame\n")
	if err := cmd.Wait(); err != nil || out.String() != "\"open sesame\" <nil>\n" {
		t.Errorf("%s%v", out, err)
	}
	shown := make([]byte, 1000)
	n, _ := control.Read(shown)
	got := string(shown[:n])
	if !strings.HasPrefix(got, `for \x1b[2Jwork: `) || strings.Contains(got, "sesame") {
		t.Errorf("shown: %q", got)
	}
	if !echoes(t, terminal) {
		t.Error("no echo after the answer")
	}
}

// TestInterrupted: the terminal echoes again.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	cmd, out, control, terminal := asking(t)
	io.WriteString(control, "open\x03")
	if err := cmd.Wait(); err != nil || out.String() != "\"\" context canceled\n" {
		t.Errorf("%s%v", out, err)
	}
	if !echoes(t, terminal) {
		t.Error("no echo after the interrupt")
	}
}

func TestNoTerminal(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "ask")
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != fmt.Sprintf("%q %v\n", "", ErrNoTerminal) {
		t.Errorf("%s%v", out, err)
	}
}

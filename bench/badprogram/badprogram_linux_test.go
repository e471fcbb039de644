package badprogram

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/netns"
)

// TestProgram runs the program as other tests do, and checks that it misbehaves.
func TestProgram(t *testing.T) {
	path := Path(t)
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o755 {
		t.Fatalf("other users must be able to execute it: %v, %v", info, err)
	}
	t.Run("pages on a Unix socket, in a child that forked away, deaf to SIGTERM", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "s")
		out, input, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "-listen", "unix:"+socket, "-fork-away", "-ignore-term", "-record", socket+".record")
		cmd.Env = []string{"SALLYPORT_EVENT=open"}
		cmd.Stdout, cmd.Stderr = input, input
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		input.Close()
		var answer string
		netns.Until(t, "the page", func() bool { answer = request(socket, "/self"); return answer != "" })
		record, err := os.ReadFile(socket + ".record")
		if err != nil || !strings.Contains(string(record), "SALLYPORT_EVENT=open") || !strings.HasSuffix(string(record), "\n") {
			t.Errorf("recorded %q, %v", record, err)
		}
		fields := strings.Fields(answer[strings.Index(answer, "pid "):])
		pid := 0
		for _, d := range fields[1] {
			pid = 10*pid + int(d-'0')
		}
		if pid == 0 || pid == cmd.Process.Pid {
			t.Fatalf("the first process still serves: %s", answer)
		}
		syscall.Kill(pid, syscall.SIGTERM)
		if answer := request(socket, "/env"); !strings.Contains(answer, "SALLYPORT_EVENT=open") {
			t.Errorf("after SIGTERM: %q", answer)
		}
		syscall.Kill(pid, syscall.SIGKILL)
		io.Copy(io.Discard, out) // ends when the child has
	})
	t.Run("a flood, and an exit code", func(t *testing.T) {
		out, err := exec.Command(path, "-flood", "100000", "-exit", "3").Output()
		exit, ok := err.(*exec.ExitError)
		if !ok || exit.ExitCode() != 3 || len(out) < 100000 || len(exit.Stderr) == 0 {
			t.Errorf("%d bytes, %v", len(out), err)
		}
	})
	t.Run("a socket of another process", func(t *testing.T) {
		cmd := exec.Command(path, "-listen", "inherit")
		cmd.Env = []string{"LISTEN_FDS=1", "LISTEN_PID=1"}
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "expected LISTEN_PID=") {
			t.Errorf("%s, %v", out, err)
		}
	})
}

// request returns the answer to a request; empty: there is none.
func request(socket, path string) string {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return ""
	}
	defer c.Close()
	io.WriteString(c, "GET "+path+" HTTP/1.0\r\n\r\n")
	text, _ := io.ReadAll(bufio.NewReader(c))
	return string(text)
}

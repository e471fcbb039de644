package forward

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/race"
)

// TestMain is also the program that inherits sockets: it prints what it got, and what
// its children would get.
func TestMain(m *testing.M) {
	if os.Getenv("SALLYPORT_TEST_INHERITS") == "" {
		race.Children()
		os.Exit(m.Run())
	}
	sockets, err := Inherited()
	if err != nil {
		fmt.Println("error:", err)
	}
	for _, s := range sockets {
		kind := "stream"
		if s.Packet != nil {
			kind = "packet"
		}
		fmt.Println(kind, s.Name, s.Local, s.Address.IsValid())
	}
	again, err := Inherited()
	fmt.Println("again:", len(again), err)
	out, err := exec.Command("sh", "-c", `echo "environment:$(env | grep LISTEN_)"; readlink /proc/self/fd/* | tr '\n' ' '`).Output()
	fmt.Printf("%s%v\n", out, err)
}

// inherits runs the program with descriptors from 3 on, and returns its output.
func inherits(t *testing.T, files []*os.File, pid string, env ...string) []string {
	t.Helper()
	cmd := exec.Command("sh", "-c", "LISTEN_PID="+pid+` exec "$0"`, "/proc/self/exe")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[len(cmd.Args)-1] = exe
	cmd.Env = append(append(os.Environ(), "SALLYPORT_TEST_INHERITS=1"), env...)
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestInherited(t *testing.T) {
	file := func(s any, err error) *os.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	path := filepath.Join(t.TempDir(), "socket")
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	udp, udpErr := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil || udpErr != nil {
		t.Fatal(err, udpErr)
	}
	defer tcp.Close()
	defer udp.Close()
	lTCP, lUDP := file(tcp, nil), file(udp, nil)
	l, err := net.Listen("unix", path)
	lUnix := file(l, err)
	const nothingLeft = "environment:"
	got := inherits(t, []*os.File{lTCP, lUDP, lUnix}, "$$", "LISTEN_FDS=3", "LISTEN_FDNAMES=a:b/udp:c")
	want := []string{
		"stream a " + tcp.Addr().String() + " true", "packet b/udp " + udp.LocalAddr().String() + " true", "stream c " + path + " false",
		"again: 0 <nil>", nothingLeft,
	}
	if strings.Join(got[:len(got)-1], "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s\nand descriptors", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	closed := func(name string, got []string, files ...*os.File) {
		t.Helper()
		for _, f := range files {
			link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
			if err != nil || strings.Contains(got[len(got)-1], link) {
				t.Errorf("%s: children inherit %s: %s, %v", name, link, got[len(got)-1], err)
			}
		}
	}
	closed("all", got, lTCP, lUDP, lUnix)
	connected, err := net.Dial("tcp", tcp.Addr().String())
	conn := file(connected, err)
	raw := func(domain, kind int) *os.File {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "raw")
		t.Cleanup(func() { f.Close() })
		return f
	}
	regular, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer regular.Close()
	for _, c := range []struct {
		name  string
		files []*os.File
		pid   string
		env   []string
		want  string
	}{
		{"of another process", []*os.File{lTCP}, "1", []string{"LISTEN_FDS=1"}, "again: 0 <nil>"},
		{"none", nil, "$$", nil, "again: 0 <nil>"},
		{"names that do not fit", []*os.File{lTCP}, "$$", []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=a:b"}, "stream  " + tcp.Addr().String() + " true"},
		{"a connection", []*os.File{conn}, "$$", []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=x"},
			"error: socket 1 of LISTEN_FDS (\"x\"): expected a listening socket, got one that does not listen: set Accept=no in the socket unit"},
		{"an unbound socket", []*os.File{raw(unix.AF_INET, unix.SOCK_STREAM)}, "$$", []string{"LISTEN_FDS=1"},
			"error: socket 1 of LISTEN_FDS (\"\"): expected a listening socket"},
		{"a Unix datagram socket", []*os.File{lTCP, raw(unix.AF_UNIX, unix.SOCK_DGRAM)}, "$$", []string{"LISTEN_FDS=2"},
			"error: socket 2 of LISTEN_FDS (\"\"): expected a listening TCP or Unix socket (ListenStream=), or a UDP socket"},
		{"a sequential socket", []*os.File{raw(unix.AF_UNIX, unix.SOCK_SEQPACKET)}, "$$", []string{"LISTEN_FDS=1"},
			"error: socket 1 of LISTEN_FDS (\"\"): expected a listening TCP or Unix socket"},
		{"a file", []*os.File{regular}, "$$", []string{"LISTEN_FDS=1"}, "error: socket 1 of LISTEN_FDS (\"\"): expected a socket: getsockopt: socket operation on non-socket"},
		{"too few", []*os.File{lTCP}, "$$", []string{"LISTEN_FDS=2"}, "error: socket 2 of LISTEN_FDS (\"\"): expected a socket: getsockopt: "},
		{"no number", []*os.File{lTCP}, "$$", []string{"LISTEN_FDS=many"}, "error: LISTEN_FDS: expected a number from 0 to 256, got \"many\""},
		{"too many", nil, "$$", []string{"LISTEN_FDS=257"}, "error: LISTEN_FDS: expected a number from 0 to 256, got \"257\""},
	} {
		got := inherits(t, c.files, c.pid, c.env...)
		if !strings.HasPrefix(got[0], c.want) || got[len(got)-2] != nothingLeft {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), c.want)
		}
		if !strings.Contains(c.want, "again") && !strings.Contains(c.want, "LISTEN_FDS: ") {
			closed(c.name, got, c.files...)
		}
	}
}

package etcdtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// member is the process of one member, and what it starts with.
type member struct {
	number    int
	directory string // with the data and the sockets
	proxy     string // the URL of its HTTP proxy
	process   *exec.Cmd
	ended     chan struct{} // closed when the process has ended
	killed    bool          // by the test
}

func (m *member) name() string { return fmt.Sprintf("m%d", m.number) }

func (m *member) data() string { return filepath.Join(m.directory, "data") }

func (m *member) log() string { return filepath.Join(m.directory, "log") }

func (m *member) socket(name string) string { return filepath.Join(m.directory, name+":1") }

// dial connects to a socket of a member: "client" or "peer".
func (c *Cluster) dial(member int, socket string) (net.Conn, error) {
	return net.Dial("unix", c.members[member].socket(socket))
}

// run starts the process of a member. It ends with this process.
func (c *Cluster) run(t testing.TB, m *member) {
	t.Helper()
	if m.ended != nil {
		select {
		case <-m.ended:
		default:
			t.Fatalf("member %d runs", m.number)
		}
	}
	for _, socket := range []string{"client", "peer"} {
		os.Remove(m.socket(socket)) // a killed process leaves it
	}
	log, err := os.OpenFile(m.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	scheme := "unix"
	if c.options.TLS {
		scheme = "unixs"
	}
	m.process = exec.Command(c.program, append(c.identity(m),
		"--data-dir", m.data(), "--initial-cluster-state", "new",
		"--listen-client-urls", scheme+"://client:1", "--advertise-client-urls", "http://"+peerHost(m.number),
		"--listen-peer-urls", "unix://peer:1",
		"--heartbeat-interval", "50", "--election-timeout", "500", "--pre-vote",
		"--bcrypt-cost", "4", "--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn",
		"--quota-backend-bytes", fmt.Sprint(c.options.Quota))...)
	if c.options.TLS {
		m.process.Args = append(m.process.Args, "--client-cert-auth", "--trusted-ca-file", c.authority.file,
			"--cert-file", c.server.Certificate, "--key-file", c.server.Key)
	}
	m.process.Dir = m.directory // the paths of the sockets are relative to it
	m.process.Env = []string{"HTTP_PROXY=" + m.proxy, "GOMAXPROCS=2"}
	m.process.Stdout, m.process.Stderr = log, log
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		// The thread that starts the process must live as long: see Pdeathsig.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := m.process.Start()
		started <- err
		if err == nil {
			m.process.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start member %d: %v", m.number, err)
	}
	m.ended, m.killed = ended, false
}

// identity returns the flags that name a member and the others. They determine the
// identifiers of the cluster and of its members.
func (c *Cluster) identity(m *member) []string {
	var all []string
	for _, other := range c.members {
		all = append(all, other.name()+"=http://"+peerHost(other.number))
	}
	return []string{
		"--name", m.name(), "--initial-advertise-peer-urls", "http://" + peerHost(m.number),
		"--initial-cluster", strings.Join(all, ","), "--initial-cluster-token", c.token,
	}
}

// Kill kills members, or all without an argument, and waits for their end. The kernel
// has the data that they wrote, so that no sync is lost.
func (c *Cluster) Kill(members ...int) {
	for _, m := range c.choose(members) {
		m.killed = true
		m.process.Process.Kill()
		<-m.ended
	}
}

// Stop stops the processes of members, or of all without an argument, until Continue. It
// waits until all their threads have stopped: one that runs could still answer.
func (c *Cluster) Stop(members ...int) {
	c.signal(syscall.SIGSTOP, members)
	for _, m := range c.choose(members) {
		for unix.Waitid(unix.P_PID, m.process.Process.Pid, nil, unix.WSTOPPED, nil) == unix.EINTR {
		}
	}
}

// Continue lets processes run again.
func (c *Cluster) Continue(members ...int) { c.signal(syscall.SIGCONT, members) }

// Restart starts members that were killed, or all without an argument. Ready waits
// until they have a leader.
func (c *Cluster) Restart(t testing.TB, members ...int) {
	t.Helper()
	for _, m := range c.choose(members) {
		c.run(t, m)
	}
}

func (c *Cluster) signal(s syscall.Signal, members []int) {
	for _, m := range c.choose(members) {
		m.process.Process.Signal(s)
	}
}

func (c *Cluster) choose(numbers []int) []*member {
	if len(numbers) == 0 {
		return c.members
	}
	var chosen []*member
	for _, n := range numbers {
		chosen = append(chosen, c.members[n])
	}
	return chosen
}

// tail returns the last lines of a member's log.
func (m *member) tail() string {
	text, _ := os.ReadFile(m.log())
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return fmt.Sprintf("the log of member %d ends:\n%s", m.number, bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}

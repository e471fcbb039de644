package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

// killsVariable sets another number of kills than a hundred.
const killsVariable = "SALLYPORT_TEST_KILLS"

// victim is a server in another process, with its log.
type victim struct {
	cmd *exec.Cmd

	mu     sync.Mutex
	cond   sync.Cond
	opened map[string]bool // the addresses for which a service was opened
	lines  []string
	ended  bool
}

// TestKilledAtRandom kills servers at random moments while clients knock. After
// each kill the server starts again; no attempt that has opened a service opens it
// again, and every client can still open it. Several servers share the kills,
// because a start waits for the end of a second.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const servers = 4
	kills := 100
	if testing.Short() {
		kills = 12
	}
	if n, err := strconv.Atoi(os.Getenv(killsVariable)); err == nil {
		kills = n
	}
	for i := range servers {
		t.Run(fmt.Sprintf("server %d", i), func(t *testing.T) {
			t.Parallel()
			killAtRandom(t, fmt.Sprintf("127.200.0.%d", i+1), (kills+servers-1)/servers)
		})
	}
}

func killAtRandom(t *testing.T, host string, kills int) {
	dir := t.TempDir()
	guests := makeGuestsOf(t, dir, host)
	var granted []attempt
	replayed := 0
	for i := range kills + 1 {
		v := startVictim(t, dir)
		// Replay the attempts that have opened a service, from another address.
		granted = recent(granted)
		for _, a := range granted {
			a.send(t, replayer)
			replayed += len(a.packets)
		}
		// Clients can still open it.
		honest := guests[i%len(guests)]
		a := honest.attempt(t)
		a.send(t, a.from)
		netns.Until(t, "a client gets in, or the server ends", func() bool { return v.has(a.from) || v.hasEnded() }, v.log)
		if !v.has(a.from) {
			t.Fatalf("kill %d: client %s can no longer open the service:\n%s", i, honest.name(), v.log())
		}
		granted = append(granted, a)
		if i == kills {
			granted = recent(granted)
			v.stop(t, len(granted))
			break
		}
		granted = append(granted, v.killDuring(t, guests)...)
		if v.has(replayer) {
			t.Fatalf("kill %d: a nonce was accepted twice:\n%s", i, v.log())
		}
	}
	t.Logf("%d kills; %d datagrams of attempts that had opened the service were replayed", kills, replayed)
	if replayed == 0 {
		t.Error("nothing was replayed")
	}
}

// replayer is the address from which attempts are replayed. Each original attempt
// has another address, so that the log shows which of them opened the service.
const replayer = "127.0.0.2"

// killDuring kills the server while the guests knock, and returns the attempts
// that opened the service.
func (v *victim) killDuring(t *testing.T, guests []*guest) (granted []attempt) {
	sent := make([][]attempt, len(guests))
	var wg sync.WaitGroup
	for i, g := range guests {
		wg.Go(func() {
			for more := true; more; {
				a := g.attempt(t)
				sent[i] = append(sent[i], a)
				a.send(t, a.from)
				more = v.await(a.from)
			}
		})
	}
	time.Sleep(rand.N(30 * time.Millisecond))
	v.cmd.Process.Kill()
	wg.Wait()
	v.cmd.Wait()
	for _, attempts := range sent {
		for _, a := range attempts {
			if v.has(a.from) {
				granted = append(granted, a)
			}
		}
	}
	return granted
}

// boundVariable has the process of which bind makes its child end with it.
const boundVariable = "SALLYPORT_TEST_BOUND"

// startBound starts a process, which the kernel kills when this one ends in any way. The
// kernel looks at the thread that starts it, so that must not end before.
func startBound(cmd *exec.Cmd) error { return startBoundBy(starter(), cmd) }

// startBoundBy is startBound by another thread, which must live as long as the process.
func startBoundBy(orders chan<- func(), cmd *exec.Cmd) error {
	cmd.Env = append(append(os.Environ(), cmd.Env...), fmt.Sprintf("%s=%d", boundVariable, os.Getpid()))
	done := make(chan error)
	orders <- func() { done <- cmd.Start() }
	return <-done
}

// bind does that in the process that startBound has started, again after each execve: the
// thread that calls it may be another one.
func bind() {
	if os.Getenv(boundVariable) == strconv.Itoa(os.Getppid()) {
		unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	}
}

// starter returns the orders to a thread that lives as long as this process.
var starter = sync.OnceValue(func() chan<- func() {
	orders := make(chan func())
	go func() {
		runtime.LockOSThread()
		for do := range orders {
			do()
		}
	}()
	return orders
})

func startVictim(t *testing.T, dir string) *victim {
	t.Helper()
	return startProgram(t, "/proc/self/exe", dir)
}

func startProgram(t *testing.T, program, dir string) *victim {
	t.Helper()
	return startProgramBy(t, starter(), program, dir)
}

// startProgramBy is startProgram by a thread, with more variables of the environment.
func startProgramBy(t *testing.T, orders chan<- func(), program, dir string, environment ...string) *victim {
	t.Helper()
	v, serving := launchBy(t, orders, program, dir, environment...)
	if !<-serving {
		t.Fatalf("the server no longer starts:\n%s", v.log())
	}
	return v
}

// launchBy starts a server, and does not wait until it serves.
func launchBy(t *testing.T, orders chan<- func(), program, dir string, environment ...string) (v *victim, serving <-chan bool) {
	t.Helper()
	v = &victim{opened: map[string]bool{}}
	v.cond.L = &v.mu
	v.cmd = exec.Command(program, "serve", "-c", filepath.Join(dir, config.FileName))
	v.cmd.Args[0] = "sallyportd"
	v.cmd.Env = environment
	out, err := v.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := startBoundBy(orders, v.cmd); err != nil {
		t.Fatal(err)
	}
	serves := make(chan bool, 1)
	go v.read(bufio.NewScanner(out), serves)
	return v, serves
}

func (v *victim) read(lines *bufio.Scanner, serving chan<- bool) {
	for lines.Scan() {
		line := lines.Text()
		v.mu.Lock()
		v.lines = append(v.lines, line)
		if _, rest, ok := strings.Cut(line, " address="); ok && strings.Contains(line, "msg=opened") {
			address, _, _ := strings.Cut(rest, " ")
			v.opened[address] = true
		}
		v.mu.Unlock()
		v.cond.Broadcast()
		if strings.Contains(line, "msg=serving") {
			serving <- true
		}
	}
	v.mu.Lock()
	v.ended = true
	v.mu.Unlock()
	v.cond.Broadcast()
	close(serving)
}

// await waits until the service is open for an address; false: the server ended.
func (v *victim) await(address string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for !v.opened[address] && !v.ended {
		v.cond.Wait()
	}
	return v.opened[address]
}

// hasEnded reports whether the server has ended.
func (v *victim) hasEnded() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ended
}

func (v *victim) has(address string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.opened[address]
}

func (v *victim) log() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Join(v.lines, "\n")
}

// stop ends the server in order. Its last line of traffic shows that it has
// rejected the replayed attempts.
func (v *victim) stop(t *testing.T, attempts int) {
	t.Helper()
	v.cmd.Process.Signal(os.Interrupt)
	v.mu.Lock()
	for !v.ended {
		v.cond.Wait()
	}
	v.mu.Unlock()
	if err := v.cmd.Wait(); err != nil {
		t.Errorf("the server ends with %v", err)
	}
	if attempts > 1 && !strings.Contains(v.log(), "session_replay=") {
		t.Errorf("nothing was rejected as a replay:\n%s", v.log())
	}
}

// guest is a client whose only state is its nonce file.
type guest struct {
	profile client.Profile
	nonces  client.NonceFile
	clock   func() time.Time // nil: this host's
}

func (g *guest) now() time.Time {
	if g.clock != nil {
		return g.clock()
	}
	return time.Now()
}

func makeGuests(t *testing.T, dir string) []*guest {
	t.Helper()
	return makeGuestsOf(t, dir, "127.0.0.1")
}

// makeGuestsOf makes a server at an address, with its clients.
func makeGuestsOf(t *testing.T, dir, host string) (guests []*guest) {
	t.Helper()
	cfg := `ports = 2
listen = ["` + host + `"]
port_secret_file = "port_secret"
clients = "clients.txt"
[[service]]
name = "web"
type = "web"
listen = "` + host + `:8080"
`
	var clients strings.Builder
	for i := range 4 {
		g := &guest{client.Profile{
			Server: host, PortSecret: "the port secret", Ports: 2,
			Identifier: wire.Identifier([]byte(fmt.Sprintf("com%d", i))), Secret: []byte(fmt.Sprintf("secret-%d", i)),
		}, client.NonceFile{Path: filepath.Join(dir, fmt.Sprintf("%d.nonce", i))}, nil}
		guests = append(guests, g)
		fmt.Fprintf(&clients, "com%d secret-%d 0\n", i, i)
	}
	from := filepath.Join(dir, "from.toml")
	for path, text := range map[string]string{from: cfg, filepath.Join(dir, "made.txt"): clients.String()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.Command("/proc/self/exe", "init", dir, "--from", from, "--server", host)
	run.Args[0] = "sallyportd"
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	for name, text := range map[string]string{config.ClientsName: clients.String(), config.PortSecretName: "the port secret\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return guests
}

func (g *guest) name() string { return g.profile.Identifier.String() }

// attempt is a sequence as it was sent.
type attempt struct {
	packets []client.Packet
	at      time.Time
	from    string
	to      netip.Addr
}

var attempts atomic.Uint32

func (g *guest) attempt(t *testing.T) attempt {
	t.Helper()
	base, _, err := g.nonces.Reserve(t.Context(), g.name(), g.profile.Ports, g.now())
	if err != nil {
		t.Error(err)
	}
	now := g.now()
	packets, err := client.Sequence(g.profile, now, base)
	if err != nil {
		t.Error(err)
	}
	n := attempts.Add(1)
	return attempt{packets, now, fmt.Sprintf("127.%d.%d.%d", 1+n>>16, n>>8&0xff, n&0xff), netip.MustParseAddr(g.profile.Server)}
}

func (a attempt) send(t *testing.T, from string) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)})
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	for _, p := range a.packets {
		if _, err := c.WriteToUDPAddrPort(p.Datagram, netip.AddrPortFrom(a.to, p.Port)); err != nil {
			t.Error(err)
		}
	}
}

// recent removes attempts that the server rejects because of their age alone.
func recent(attempts []attempt) (kept []attempt) {
	for _, a := range attempts {
		if time.Since(a.at) < 50*time.Second {
			kept = append(kept, a)
		}
	}
	// A socket queue of the kernel holds only some hundred datagrams.
	return kept[max(0, len(kept)-100):]
}

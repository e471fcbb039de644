package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/xdp"
)

// TestServerStandsStill: while a server stands still, the shield passes all to its sockets,
// and goes on when the server does.
func TestServerStandsStill(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on"`, 1)
	w.byShield(t, "at first", v, w.guests[0], shieldHost)
	counted := countsOf(t, holderOf(t, v.cmd.Process.Pid))
	netns.Stop(t, v.cmd.Process.Pid)
	w.passes(t, "the server stands still", counted, w.guests[1])
	sendSignal(t, v.cmd.Process, syscall.SIGCONT)
	w.bySoonShield(t, "the server goes on", v, w.guests[1], shieldHost)
	v.end(t, syscall.SIGTERM)
}

// TestHolderStandsStill: when a server is dead, and its holder cannot detach the shield,
// the next server gets the knocks at its sockets.
func TestHolderStandsStill(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	first := startVictim(t, w.dir)
	awaitLog(t, first, `msg="shield on"`, 1)
	w.byShield(t, "at first", first, w.guests[0], shieldHost)
	held, err := os.FindProcess(holderOf(t, first.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Kill() })
	counted := countsOf(t, held.Pid)
	thaw := freeze(t, held.Pid)
	sendSignal(t, first.cmd.Process, syscall.SIGKILL)
	first.cmd.Wait() // its log stays open: the holder writes to it too

	second := startVictim(t, w.dir)
	awaitLog(t, second, "another XDP program is attached", 1)
	w.passes(t, "the server is dead", counted, w.guests[1])
	w.bySockets(t, "beside a holder that stands still", second, w.dir, w.guests[1])
	if !shieldOn(t, shieldLink) {
		t.Error("the kernel has detached the shield of a holder that stands still")
	}
	thaw()
	awaitLog(t, second, `msg="shield attached" interface=srv mode=native`, 1)
	w.bySoonShield(t, "when the holder goes on", second, w.guests[2], shieldHost)
	second.end(t, syscall.SIGTERM)
}

// freeze makes a process stand still, also if it gets SIGCONT, until thaw is called or the
// test ends: this process traces it.
func freeze(t *testing.T, pid int) (thaw func()) {
	t.Helper()
	frozen, over := make(chan error), make(chan struct{})
	go func() {
		// The thread that traces ends with the goroutine, and the process then goes on.
		runtime.LockOSThread()
		frozen <- traceAll(pid)
		<-over
	}()
	thaw = sync.OnceFunc(func() { close(over) })
	t.Cleanup(thaw)
	if err := <-frozen; err != nil {
		t.Fatal(err)
	}
	return thaw
}

// traceAll stops all threads of a process.
func traceAll(pid int) error {
	traced := map[int]bool{}
	for before := -1; before < len(traced); { // until no thread has come meanwhile
		before = len(traced)
		all, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
		if err != nil {
			return err
		}
		for _, entry := range all {
			thread, err := strconv.Atoi(entry.Name())
			if err != nil || traced[thread] {
				continue
			}
			if err := unix.PtraceSeize(thread); err != nil {
				return os.NewSyscallError("PTRACE_SEIZE", err)
			}
			if err := unix.PtraceInterrupt(thread); err != nil {
				return os.NewSyscallError("PTRACE_INTERRUPT", err)
			}
			if _, err := unix.Wait4(thread, nil, unix.WALL, nil); err != nil {
				return os.NewSyscallError("wait4", err)
			}
			traced[thread] = true
		}
	}
	return nil
}

func sendSignal(t *testing.T, p *os.Process, s os.Signal) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// passes sends sequences until the shield has passed one to the sockets.
func (w *shieldWorld) passes(t *testing.T, what string, counted func() xdp.Counts, g *guest) {
	t.Helper()
	netns.Until(t, what+": the shield passes the knocks", func() bool {
		before := counted()
		w.send(t, "192.0.2.60", shieldHost, g.attempt(t).packets)
		after := counted()
		return after[xdp.CountRing] == before[xdp.CountRing] && after[xdp.CountSocket] >= before[xdp.CountSocket]+2
	})
}

// countsOf returns the counters of the shield that a process holds, also while that
// stands still.
func countsOf(t *testing.T, pid int) func() xdp.Counts {
	t.Helper()
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(process)
	all, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range all {
		number, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdGetfd(process, number, 0)
		if err != nil {
			continue // it was closed
		}
		m, err := ebpf.NewMapFromFD(fd) // which closes other descriptors
		if err != nil {
			continue
		}
		if info, err := m.Info(); err != nil || info.Name != "counters" {
			m.Close()
			continue
		}
		t.Cleanup(func() { m.Close() })
		return func() (sum xdp.Counts) {
			const words = 32 // of a processor
			for i := range m.MaxEntries() {
				var n uint64
				if err := m.Lookup(i, &n); err != nil {
					t.Fatal(err)
				}
				if i%words < xdp.NumCounts {
					sum[i%words] += n
				}
			}
			return sum
		}
	}
	t.Fatalf("process %d holds no counters", pid)
	return nil
}

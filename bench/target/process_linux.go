package target

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sallyport/bench/clock"
	"sallyport/bench/netns"
)

// Process is a program under test. Its stderr counts as its log.
type Process struct {
	cmd  *exec.Cmd
	core int
	log  logCounter
	done chan struct{}
	err  error // of the process; valid after done is closed
}

// AnyCore lets a program run on all cores.
const AnyCore = -1

// Start runs a program on a host (nil: this one), on one core or on any. It ends with ctx,
// and with this process.
func Start(ctx context.Context, host *netns.Host, core int, cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, core: core, done: make(chan struct{})}
	cmd.Stderr = &p.log
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	run := func() error {
		// The kernel kills the process when the thread that started it ends, so the
		// thread must live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.begin()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
		return nil
	}
	go func() {
		if host == nil {
			run()
		} else if err := host.Do(run); err != nil {
			started <- err
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	return p, nil
}

func (p *Process) begin() error {
	if p.core == AnyCore {
		return p.cmd.Start()
	}
	return clock.OnCore(p.core, p.cmd.Start)
}

// await waits until the log contains a text, or the process has ended.
func (p *Process) await(ctx context.Context, line string) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		if p.log.contains(line) {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %s\n%s",
				filepath.Base(p.cmd.Path), p.cmd.ProcessState, p.log.text())
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// Stop ends the process with SIGTERM, and waits for it.
func (p *Process) Stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
	if p.err != nil {
		return fmt.Errorf("stop %s: %w\n%s", filepath.Base(p.cmd.Path), p.err, p.log.text())
	}
	return nil
}

// Kill ends the process at once.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Usage is the usage of a process since its start.
type Usage struct {
	Processor time.Duration
	Resident  uint64 // bytes, now
	LogLines  uint64
}

// Usage reads the usage from the kernel.
func (p *Process) Usage() (u Usage, err error) {
	u.LogLines = p.log.lines.Load()
	if u.Processor, err = processorTime(p.cmd.Process.Pid); err != nil {
		return u, err
	}
	u.Resident, err = Resident(p.cmd.Process.Pid)
	return u, err
}

// Resident returns the resident memory of any process, in bytes.
func Resident(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of a process: %w", err)
	}
	pages, err := field(string(text), 1)
	return pages * uint64(os.Getpagesize()), err
}

// ThreadTime returns the processor time of any thread, including kernel threads.
func ThreadTime(id string) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join("/proc", id, "schedstat"))
	if err != nil {
		return 0, fmt.Errorf("read the time of a thread: %w", err)
	}
	ns, err := field(string(text), 0)
	return time.Duration(ns), err
}

// field parses a number in a line of /proc.
func field(line string, i int) (uint64, error) {
	fields := strings.Fields(line)
	if i >= len(fields) {
		return 0, fmt.Errorf("a line of /proc has %d fields, expected at least %d", len(fields), i+1)
	}
	return strconv.ParseUint(fields[i], 10, 64)
}

// logCounter counts the lines of a log, and keeps the first ones.
type logCounter struct {
	lines atomic.Uint64

	mu   sync.Mutex
	head bytes.Buffer
}

const logHead = 16 << 10

var _ io.Writer = (*logCounter)(nil)

func (l *logCounter) Write(b []byte) (int, error) {
	l.lines.Add(uint64(bytes.Count(b, []byte("\n"))))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head.Write(b[:min(len(b), max(0, logHead-l.head.Len()))])
	return len(b), nil
}

func (l *logCounter) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head.String()
}

func (l *logCounter) contains(s string) bool { return strings.Contains(l.text(), s) }

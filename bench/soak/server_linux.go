package soak

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"sallyport/bench/netns"
	"sallyport/bench/target"
)

// server starts and ends sallyportd, of which at most one runs, and reads its log.
type server struct {
	binary string
	dir    string // of its configuration and state
	host   *netns.Host
	judge  *Judge
	log    *os.File // of all runs

	mu         sync.Mutex
	cmd        *exec.Cmd // the one that runs, or has ended last
	serving    chan struct{}
	closed     chan struct{} // when no process has its standard error
	goroutines int           // in the last dump
}

// startTime limits a start. It must wait for the end of a second, and for the holder.
const startTime = 30 * time.Second

// start starts the server, and waits until it serves.
func (s *server) start(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command(s.binary, "serve", "-c", filepath.Join(s.dir, "sallyportd.toml"))
	cmd.Stderr = w
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ended, started := make(chan struct{}), make(chan error, 1)
	go func() {
		if err := s.host.Do(func() error {
			// Pdeathsig is about the thread, which must live as long as the process.
			runtime.LockOSThread()
			err := cmd.Start()
			started <- err
			if err == nil {
				cmd.Wait()
			}
			close(ended)
			return nil
		}); err != nil {
			started <- err
		}
	}()
	err = <-started
	w.Close()
	if err != nil {
		r.Close()
		return fmt.Errorf("start the server: %w", err)
	}
	serving, closed := make(chan struct{}), make(chan struct{})
	s.mu.Lock()
	s.cmd, s.serving, s.closed, s.goroutines = cmd, serving, closed, 0
	s.mu.Unlock()
	go func() {
		defer r.Close()
		s.read(r, serving)
		close(closed)
	}()
	select {
	case <-serving:
		return s.follow(ctx)
	case <-ended:
		return fmt.Errorf("the server ended at its start: %s", cmd.ProcessState)
	case <-time.After(startTime):
		return fmt.Errorf("the server does not serve after %s", startTime)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow reports the grants of the server to the judge until the server ends. The server
// opens its socket a moment after it serves.
func (s *server) follow(ctx context.Context) error {
	var feed *http.Response
	var err error
	for end := time.Now().Add(startTime); ; time.Sleep(5 * time.Millisecond) {
		if feed, err = target.Get(ctx, filepath.Join(s.dir, "sallyportd.sock"), "/grants"); err == nil {
			break
		}
		if time.Now().After(end) {
			return err
		}
	}
	go func() {
		defer feed.Body.Close()
		for decoder := json.NewDecoder(feed.Body); ; {
			var g struct {
				Time              time.Time
				Client, Operation string
				Address           netip.Addr
				Services          []string
				Missed            uint64
			}
			if decoder.Decode(&g) != nil {
				return // the server has ended
			}
			if g.Missed > 0 {
				s.judge.Failed(g.Time, fmt.Sprintf("%d grants were not reported", g.Missed))
			}
			if g.Operation != "" {
				g.Client = ""
			}
			s.judge.Granted(g.Time, g.Address, g.Client, g.Services)
		}
	}()
	return nil
}

// exchangeClient begins the name of the client of an operation that belongs to none.
const exchangeClient = "#"

// event is a line of the log.
type event struct {
	Time    time.Time `json:"time"`
	Msg     string    `json:"msg"`
	Client  string    `json:"client"`
	Address string    `json:"address"`
	Service string    `json:"service"`
	Until   time.Time `json:"until"`
}

// read reports the grants of a log to the judge. It also counts the goroutines of a dump.
func (s *server) read(r *os.File, serving chan<- struct{}) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Bytes()
		s.log.Write(append(line, '\n'))
		// Those that the runtime creates for itself come and go.
		if by, ok := bytes.CutPrefix(line, []byte("created by ")); ok && !bytes.HasPrefix(by, []byte("runtime.")) {
			s.mu.Lock()
			s.goroutines++
			s.mu.Unlock()
		}
		var e event
		if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &e) != nil {
			continue
		}
		switch e.Msg {
		case "serving":
			close(serving)
		case "opened", "extended":
			from, err := netip.ParseAddr(e.Address)
			if err != nil {
				s.judge.Failed(e.Time, fmt.Sprintf("a line of the log has no address: %s", line))
				continue
			}
			if strings.HasPrefix(e.Client, exchangeClient) {
				e.Client = ""
			}
			s.judge.Logged(e.Time, from, e.Client, e.Service, e.Until)
		case "firewall table was changed by another program; restored":
			s.judge.Restored(time.Now())
		}
	}
}

// end sends a signal to the server, and waits until none of its processes is left.
func (s *server) end(signal syscall.Signal) error {
	s.mu.Lock()
	cmd, closed := s.cmd, s.closed
	s.mu.Unlock()
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-closed:
		return nil
	case <-time.After(startTime):
		return fmt.Errorf("processes of the server are left %s after signal %s", startTime, signal)
	}
}

// dumped returns the number of goroutines in the dump of the server that SIGQUIT has ended.
func (s *server) dumped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.goroutines
}

func (s *server) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// run runs a command of sallyportd with the server's configuration.
func (s *server) run(ctx context.Context, args ...string) (out []byte, err error) {
	args = append(args, "-c", filepath.Join(s.dir, "sallyportd.toml"))
	err = s.host.Do(func() error {
		out, err = exec.CommandContext(ctx, s.binary, args...).Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			// Not wrapped: the exit code is that of another program.
			return fmt.Errorf("sallyportd %s: %v\n%s%s", strings.Join(args, " "), err, out, exit.Stderr)
		}
		return err
	})
	return out, err
}

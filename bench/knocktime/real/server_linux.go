package real

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"sallyport/bench/netns"
)

// programs are the paths of the programs under test.
type programs struct{ server, client string }

// server is a running sallyportd, and the profiles of its operation.
type server struct {
	dir  string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed when the process has ended

	mu      sync.Mutex
	grants  map[netip.Addr]time.Time // the last one of each address
	watcher error
}

// refused is the reason for which check does not accept a configuration.
type refused struct{ reason string }

func (r *refused) Error() string { return r.reason }

// startServer makes a configuration, checks it, and starts a server with it on a host.
// It returns a refused error if check does not accept it.
func startServer(ctx context.Context, p programs, on *netns.Host, dir string, c configuration) (s *server, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"sallyportd.toml": c.text(), "port_secret": secret + "\n", "clients.txt": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("configure the server: %w", err)
		}
	}
	if err := check(ctx, p, on, dir); err != nil {
		return nil, err
	}
	s = &server{dir: dir, done: make(chan struct{}), grants: map[netip.Addr]time.Time{}}
	if err := s.writeProfiles(ctx, p); err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	if err := s.run(ctx, p, on); err != nil {
		s.log.Close()
		return nil, err
	}
	if err = s.await(ctx, "msg=serving"); err == nil {
		err = s.watch(ctx)
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func configPath(dir string) string { return filepath.Join(dir, "sallyportd.toml") }

// check runs "sallyportd check" on a host.
func check(ctx context.Context, p programs, on *netns.Host, dir string) error {
	var out []byte
	err := on.Do(func() (err error) {
		out, err = exec.CommandContext(ctx, p.server, "check", "-c", configPath(dir), "--json").Output()
		return err
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var answer struct {
		Valid bool
		Error string
	}
	if jsonErr := json.Unmarshal(out, &answer); jsonErr != nil {
		return fmt.Errorf("check a configuration: %w: %s", errors.Join(err, jsonErr), out)
	}
	if answer.Error != "" {
		reason := strings.TrimPrefix(answer.Error, configPath(dir)+":")
		if line, rest, ok := strings.Cut(reason, ": "); ok && strings.Trim(line, "0123456789") == "" {
			reason = rest
		}
		return &refused{reason}
	}
	if err != nil || !answer.Valid {
		return fmt.Errorf("check a configuration: %v: %s", err, out)
	}
	return nil
}

// writeProfiles writes a profile for each lane.
func (s *server) writeProfiles(ctx context.Context, p programs) error {
	text, err := exec.CommandContext(ctx, p.server, "operation", "profile", operationID, "-c", configPath(s.dir)).Output()
	if err != nil {
		return fmt.Errorf("print the operation's profile: %w", err)
	}
	for lane := range lanes {
		own := bytes.ReplaceAll(text, []byte(serverName), []byte(serverAddress(lane).String()))
		if err := os.WriteFile(s.profile(lane), own, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) profile(lane int) string {
	return filepath.Join(s.dir, fmt.Sprintf("lane%d.toml", lane))
}

// run starts the process on a host. It ends with ctx, and with this process.
func (s *server) run(ctx context.Context, p programs, on *netns.Host) error {
	s.cmd = exec.CommandContext(ctx, p.server, "serve", "-c", configPath(s.dir))
	s.cmd.Stderr = s.log
	s.cmd.WaitDelay = time.Second
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		defer close(s.done)
		// The thread that starts the process must live as long: see Pdeathsig.
		err := on.Do(func() error {
			err := s.cmd.Start()
			started <- err
			if err == nil {
				s.cmd.Wait()
			}
			return nil
		})
		if err != nil {
			started <- err
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	return nil
}

func (s *server) text() string {
	text, _ := os.ReadFile(s.log.Name())
	return string(text)
}

func (s *server) await(ctx context.Context, line string) error {
	for !strings.Contains(s.text(), line) {
		select {
		case <-s.done:
			return fmt.Errorf("the server ended before it was ready:\n%s", s.text())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// stop ends the server.
func (s *server) stop() error {
	s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.done
	text := s.text()
	s.log.Close()
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the server ended with %s:\n%s", s.cmd.ProcessState, text)
	}
	return nil
}

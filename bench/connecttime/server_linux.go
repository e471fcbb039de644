package connecttime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// server is a running sallyportd, the programs behind its services, and the open ports
// for plain connections.
type server struct {
	config    string
	targets   []*target
	cmd       *exec.Cmd
	ended     chan struct{}
	listeners []net.Listener
}

func startServer(ctx context.Context, cfg Config, on *netns.Host, dir, address string, s setup) (srv *server, err error) {
	srv = &server{config: filepath.Join(dir, "sallyportd.toml")}
	defer func() {
		if err != nil {
			srv.stop()
		}
	}()
	if err := srv.programs(on, s); err != nil {
		return srv, err
	}
	if err := srv.configure(ctx, cfg, dir, address, s); err != nil {
		return srv, fmt.Errorf("configure the server: %w", err)
	}
	if err := srv.serve(cfg.Server, on, s.plain); err != nil {
		return srv, fmt.Errorf("start the server: %w", err)
	}
	return srv, nil
}

// programs starts the programs behind the services, and those at open ports.
func (s *server) programs(on *netns.Host, of setup) error {
	first := map[string]bool{fmt.Sprintf(":%d", plainPort): true, fmt.Sprintf("127.0.0.1:%d", upstreamPort): true}
	for i, v := range of.services {
		if v.guards {
			first[fmt.Sprintf(":%d", firstPort+i)] = true
		}
	}
	first[fmt.Sprintf(":%d", plainWebPort)] = false
	for address, speaks := range first {
		l, err := listen(on, address)
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, l)
		if speaks {
			go speak(l)
		} else {
			go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") }))
		}
	}
	return nil
}

// speak sends a line over each connection, and waits for its end.
func speak(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if _, err := io.WriteString(c, "hello\n"); err == nil {
				io.Copy(io.Discard, c)
			}
		}()
	}
}

// configure writes the configuration, and a profile for each service.
func (s *server) configure(ctx context.Context, cfg Config, dir, address string, of setup) error {
	from := dir + ".toml"
	if err := os.WriteFile(from, []byte(of.text(address)), 0o600); err != nil {
		return err
	}
	run := func(words ...string) error {
		out, err := exec.CommandContext(ctx, cfg.Server, words...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("sallyportd %s: %v\n%s", strings.Join(words, " "), err, out)
		}
		return nil
	}
	if err := run("init", dir, "--from", from); err != nil {
		return err
	}
	for _, v := range of.services {
		t := &target{service: v, path: filepath.Join(dir, v.name+".profile.toml")}
		var err error
		if v.exchange {
			id := "open-" + v.name
			err = errors.Join(run("operation", "add", id, "--service", v.name, "-c", s.config),
				run("operation", "profile", id, "--out", t.path, "-c", s.config))
		} else {
			err = run("client", "add", "--services", v.name, "--out", t.path, "-c", s.config)
		}
		if err != nil {
			return err
		}
		if t.profile, t.nonces, err = cfg.Load(t.path); err != nil {
			return err
		}
		s.targets = append(s.targets, t)
	}
	return nil
}

// serve starts the server on a host, and waits until it serves. It ends with this
// process.
func (s *server) serve(program string, on *netns.Host, plain bool) error {
	log, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	s.cmd, s.ended = exec.Command(program, "serve", "-c", s.config), make(chan struct{})
	s.cmd.Stderr = w
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		defer close(s.ended)
		// The thread that starts the process must live as long (see Pdeathsig). A capability
		// that it gives up is lost to it.
		here, err := netns.This()
		if err == nil {
			defer here.Close()
			if on == nil {
				on = here
			}
			err = on.Do(func() error {
				if plain {
					if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0); err != nil {
						return os.NewSyscallError("prctl", err)
					}
				}
				err := s.cmd.Start()
				started <- err
				if err == nil {
					s.cmd.Wait()
				}
				return nil
			})
		}
		if err != nil {
			started <- err
		}
	}()
	if err := <-started; err != nil {
		log.Close()
		s.cmd = nil
		return err
	}
	w.Close()
	return s.await(log)
}

// await reads the log until the server serves, and then drains it.
func (s *server) await(log *os.File) error {
	var text strings.Builder
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		fmt.Fprintln(&text, lines.Text())
		if strings.Contains(lines.Text(), "msg=serving") {
			go func() {
				io.Copy(io.Discard, log)
				log.Close()
			}()
			return nil
		}
	}
	log.Close()
	return fmt.Errorf("it ended before it served:\n%s", text.String())
}

// closeLeases ends all leases, and their connections.
func (s *server) closeLeases(ctx context.Context, program string) error {
	out, err := exec.CommandContext(ctx, program, "lease", "close", "--all", "--cut", "-c", s.config).CombinedOutput()
	if err != nil {
		return fmt.Errorf("close all leases: %v\n%s", err, out)
	}
	return nil
}

// stop ends the server and the programs.
func (s *server) stop() error {
	for _, l := range s.listeners {
		l.Close()
	}
	if s.cmd == nil {
		return nil
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(maxTime):
		s.cmd.Process.Kill()
		<-s.ended
		return errors.New("the server did not end")
	}
	return nil
}

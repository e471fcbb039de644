package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

// serve serves pages until the process ends.
func serve(address string) error {
	l, err := listen(address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go page(c)
	}
}

func listen(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		os.Remove(path)
		l, err := net.Listen("unix", path)
		if err == nil {
			err = os.Chmod(path, 0o666) // the gate runs as another user
		}
		return l, err
	}
	if address != "inherit" {
		return net.Listen("tcp", address)
	}
	// As sd_listen_fds(3) does, except that a child may go on.
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) && pid != os.Getenv(forked) {
		return nil, fmt.Errorf("expected LISTEN_PID=%d, got %q", os.Getpid(), pid)
	}
	if n := os.Getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("expected LISTEN_FDS=1, got %q", n)
	}
	return net.FileListener(os.NewFile(3, "listener"))
}

// page answers one request.
func page(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	request, err := r.ReadString('\n')
	for line := request; err == nil && strings.TrimSpace(line) != ""; {
		line, err = r.ReadString('\n')
	}
	if err != nil {
		return
	}
	var text string
	switch words := strings.Fields(request); {
	case len(words) > 1 && words[1] == "/env":
		text = strings.Join(os.Environ(), "\n")
	case len(words) > 1 && words[1] == "/fds":
		text = descriptors()
	case len(words) > 1 && words[1] == "/self":
		dir, _ := os.Getwd()
		text = fmt.Sprintf("pid %d uid %d gid %d dir %s", os.Getpid(), os.Getuid(), os.Getgid(), dir)
	default:
		text = "the program serves"
	}
	io.WriteString(c, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: "+strconv.Itoa(len(text))+"\r\n\r\n"+text)
}

// descriptors lists the open descriptors, a line each.
func descriptors() string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil {
			fmt.Fprintln(&b, e.Name(), target)
		}
	}
	return b.String()
}

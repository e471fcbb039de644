// Command misbehave is the program of package badprogram, which has its flags.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// forked is the variable of a child that goes on after -fork-away.
const forked = "MISBEHAVE_FORKED"

type options struct {
	listen              string
	listenAfter, dieAt  time.Duration
	ignoreTerm, forkOff bool
	hang                bool
	children, flood     int
	exit                int
	record              string
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "", "")
	flag.DurationVar(&o.listenAfter, "listen-after", 0, "")
	flag.BoolVar(&o.ignoreTerm, "ignore-term", false, "")
	flag.BoolVar(&o.forkOff, "fork-away", false, "")
	flag.IntVar(&o.children, "children", 0, "")
	flag.DurationVar(&o.dieAt, "die-after", 0, "")
	flag.IntVar(&o.flood, "flood", 0, "")
	flag.StringVar(&o.record, "record", "", "")
	flag.BoolVar(&o.hang, "hang", false, "")
	flag.IntVar(&o.exit, "exit", 0, "")
	flag.Parse()
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, "misbehave:", err)
		os.Exit(111)
	}
	os.Exit(o.exit)
}

func (o options) run() error {
	if o.ignoreTerm {
		signal.Ignore(syscall.SIGTERM)
	}
	if o.forkOff && os.Getenv(forked) == "" {
		return child(os.Args[1:], forked+"="+fmt.Sprint(os.Getpid()))
	}
	if o.record != "" {
		if err := record(o.record); err != nil {
			return err
		}
	}
	for range o.children {
		args := []string{"-hang"}
		if o.ignoreTerm {
			args = append(args, "-ignore-term")
		}
		if err := child(args); err != nil {
			return err
		}
	}
	if o.dieAt > 0 {
		time.AfterFunc(o.dieAt, func() { os.Exit(o.exit) })
	}
	if o.flood > 0 && o.listen != "" {
		go flood(o.flood)
	} else if o.flood > 0 {
		flood(o.flood)
	}
	time.Sleep(o.listenAfter)
	if o.listen != "" {
		return serve(o.listen)
	}
	if o.hang || o.dieAt > 0 {
		for {
			time.Sleep(time.Hour)
		}
	}
	return nil
}

// child starts this program again, with its descriptors, in another session.
func child(args []string, env ...string) error {
	c := exec.Command("/proc/self/exe", args...)
	c.Args[0] = os.Args[0]
	c.Env = append(os.Environ(), env...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if os.Getenv("LISTEN_FDS") == "1" {
		c.ExtraFiles = []*os.File{os.NewFile(3, "listener")}
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return c.Start()
}

// flood writes n bytes to the output, and as many to the errors.
func flood(n int) {
	line := strings.Repeat("0123456789abcdef", 1024) + "\x1b[2J\x00\r\xff\n" + strings.Repeat("short\n", 200)
	for rest := n; rest > 0; rest -= len(line) {
		part := line[:min(len(line), rest)]
		os.Stdout.WriteString(part)
		os.Stderr.WriteString(part)
	}
	os.Stdout.WriteString("no newline")
}

// self is what -record writes.
type self struct {
	PID int      `json:"pid"`
	UID int      `json:"uid"`
	GID int      `json:"gid"`
	Dir string   `json:"dir"`
	Env []string `json:"env"` // SALLYPORT_…
}

// record appends a line to a file, in one write.
func record(path string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return !strings.HasPrefix(v, "SALLYPORT_") })
	line, err := json.Marshal(self{os.Getpid(), os.Getuid(), os.Getgid(), dir, env})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(line, '\n'))
	return err
}

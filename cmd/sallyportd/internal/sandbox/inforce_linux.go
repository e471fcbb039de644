package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Process is a process of the server, with the restrictions that the kernel enforces.
type Process struct {
	PID        int    `json:"pid,omitempty"` // 0: not known
	Command    string `json:"command"`
	NoNewPrivs bool   `json:"no_new_privs"`
	Seccomp    bool   `json:"seccomp"`  // it has a filter of system calls
	Landlock   int    `json:"landlock"` // as the process itself reports: see Report
}

// Processes returns a process and its children, as /proc shows them.
func Processes(pid int) ([]Process, error) {
	first, err := read(pid)
	if err != nil {
		return nil, err
	}
	all := []Process{first}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	for _, thread := range threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread.Name()))
		if err != nil {
			continue // the thread has ended
		}
		for _, child := range strings.Fields(string(text)) {
			number, err := strconv.Atoi(child)
			if err != nil {
				return nil, err
			}
			if p, err := read(number); err == nil {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// read reads about one process.
func read(pid int) (p Process, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return p, err
	}
	arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return p, err
	}
	p.PID = pid
	if words := strings.Split(string(arguments), "\x00"); len(words) > 1 {
		p.Command = words[1]
	}
	for line := range strings.Lines(string(status)) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t"); name {
		case "NoNewPrivs":
			p.NoNewPrivs = value == "1"
		case "Seccomp":
			p.Seccomp = value == "2"
		}
	}
	return p, nil
}

// String names the process and its restrictions.
func (p Process) String() string {
	r := Report{NoNewPrivs: p.NoNewPrivs, Seccomp: p.Seccomp, Landlock: p.Landlock}
	return fmt.Sprintf("%s (%s)", p.Command, r.Restrictions())
}

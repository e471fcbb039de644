package target

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// FamilyTime returns the processor time of the process and of all processes below it: a
// server with the challenge–response protocol captures packets in another process. It
// reads the files of all processes of the host.
func (p *Process) FamilyTime() (total time.Duration, err error) { return FamilyTime(p.cmd.Process.Pid) }

// FamilyTime returns the processor time of any process and of all processes below it.
func FamilyTime(process int) (total time.Duration, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	children := map[int][]int{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the process has ended
		}
		// The name, in brackets, may have spaces.
		parent, err := field(string(text[bytes.LastIndexByte(text, ')')+1:]), 1)
		if err != nil {
			return 0, err
		}
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return 0, err
		}
		children[int(parent)] = append(children[int(parent)], id)
	}
	for family := []int{process}; len(family) > 0; {
		id := family[0]
		family = append(family[1:], children[id]...)
		used, err := processorTime(id)
		if err != nil && (id == process || !errors.Is(err, os.ErrNotExist)) {
			return 0, err
		}
		total += used
	}
	return total, nil
}

// processorTime returns the processor time of a process, without its children.
func processorTime(process int) (total time.Duration, err error) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", process))
	if err != nil {
		return 0, fmt.Errorf("list the threads of a process: %w", err)
	}
	for _, t := range threads {
		used, err := ThreadTime(t.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

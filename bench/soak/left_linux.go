package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is the number of things that a server has, except for its goroutines.
type usage struct {
	processes, descriptors, elements, leases int
}

// settleTime limits the wait until a server has returned what it does not need.
const settleTime = 15 * time.Second

// settled waits until the server has no more of anything than a limit, or for a time, and
// returns what it has then.
func (s *server) settled(ctx context.Context, limit usage) (u usage, err error) {
	for end := time.Now().Add(settleTime); ; time.Sleep(time.Second / 4) {
		if u, err = s.usage(ctx); err != nil {
			return u, err
		}
		if u.processes <= limit.processes && u.descriptors <= limit.descriptors && u.elements <= limit.elements &&
			u.leases <= limit.leases || time.Now().After(end) {
			return u, nil
		}
	}
}

func (s *server) usage(ctx context.Context) (u usage, err error) {
	for _, pid := range descendants(s.pid()) {
		descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return u, fmt.Errorf("list the descriptors of the server: %w", err)
		}
		u.processes++
		u.descriptors += len(descriptors)
	}
	if u.elements, err = s.elements(ctx); err != nil {
		return u, err
	}
	leases, err := s.run(ctx, "lease", "list", "--json")
	u.leases = bytes.Count(leases, []byte("\n"))
	return u, err
}

// descendants returns a process and all below it.
func descendants(pid int) (all []int) {
	all = append(all, pid)
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range threads {
		text, _ := os.ReadFile(path) // the thread may have ended
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, descendants(child)...)
			}
		}
	}
	return all
}

// elements counts the elements of the firewall's sets of leases. The set of knock ports
// changes each minute.
func (s *server) elements(ctx context.Context) (n int, err error) {
	out, err := nft(ctx, s.host, "-j", "list", "ruleset")
	if err != nil {
		return 0, err
	}
	var ruleset struct {
		Nftables []struct {
			Set *struct {
				Name string            `json:"name"`
				Elem []json.RawMessage `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(out, &ruleset); err != nil {
		return 0, fmt.Errorf("read the rules of the firewall: %w", err)
	}
	for _, object := range ruleset.Nftables {
		if object.Set != nil && strings.Contains(object.Set.Name, "_granted") {
			n += len(object.Set.Elem)
		}
	}
	return n, nil
}

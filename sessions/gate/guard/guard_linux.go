package guard

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrTaken says that another process guards the table.
var ErrTaken = errors.New("another process guards the firewall's table")

const (
	// base and random bits are the netlink port of a guard.
	base   = 0x53500000
	spread = 1 << 20
	// group is NFNLGRP_NFTABLES, as a bit. What comes by it is dropped: another
	// socket watches the table.
	group = 1 << (unix.NFNLGRP_NFTABLES - 1)

	binds     = 16 // attempts to find a free port
	look      = 100 * time.Millisecond
	netlinkOf = "/proc/thread-self/net/netlink"
)

// Guard is the sign that this process guards the table.
type Guard struct{ fd int }

// Take gives the sign. While another process gives it, Take waits until ctx
// ends, and then returns ErrTaken. It requires CAP_NET_ADMIN.
func Take(ctx context.Context) (*Guard, error) {
	for {
		g, err := try()
		if !errors.Is(err, ErrTaken) {
			return g, err
		}
		// Two that begin at once both give way, and not in step.
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(look/2 + rand.N(look)):
		}
	}
}

func try() (*Guard, error) {
	others, err := ports()
	if err != nil {
		return nil, err
	}
	if len(others) > 0 {
		return nil, ErrTaken
	}
	fd, own, err := open()
	if err != nil {
		return nil, err
	}
	if others, err = ports(); err == nil {
		for _, p := range others {
			if p != own {
				err = ErrTaken
			}
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Guard{fd}, nil
}

// open makes the socket, and returns its port.
func open() (fd int, port uint32, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, 0, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	nothing, err := bpf.RetConstant{Val: 0}.Assemble()
	if err != nil {
		return -1, 0, err
	}
	program := []unix.SockFilter{{Code: nothing.Op, Jt: nothing.Jt, Jf: nothing.Jf, K: nothing.K}}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &program[0]}); err != nil {
		return -1, 0, os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
	}
	for range binds {
		port = base + rand.Uint32N(spread)
		if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port, Groups: group}); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if errors.Is(err, unix.EPERM) {
		return -1, 0, fmt.Errorf("guard the firewall's table: it takes CAP_NET_ADMIN: %w", err)
	}
	return fd, port, os.NewSyscallError("bind", err)
}

// Close takes the sign back.
func (g *Guard) Close() error { return os.NewSyscallError("close", unix.Close(g.fd)) }

// Alive reports whether some process of this network namespace guards the table.
// It needs no privilege.
func Alive() (bool, error) {
	found, err := ports()
	return len(found) > 0, err
}

// ports returns those of all guards.
func ports() ([]uint32, error) {
	f, err := os.Open(netlinkOf)
	if err != nil {
		return nil, fmt.Errorf("find who guards the firewall's table: %w", err)
	}
	defer f.Close()
	return parse(f)
}

// parse reads a list of netlink sockets: a line each, after one with the names
// of the columns, of which the second to the fourth are the protocol, the port,
// and the groups.
func parse(r io.Reader) (found []uint32, err error) {
	lines := bufio.NewScanner(r)
	for first := true; lines.Scan(); first = false {
		fields := strings.Fields(lines.Text())
		if first || len(fields) < 4 {
			continue
		}
		protocol, err1 := strconv.ParseUint(fields[1], 10, 32)
		port, err2 := strconv.ParseUint(fields[2], 10, 32)
		groups, err3 := strconv.ParseUint(fields[3], 16, 32)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("find who guards the firewall's table: %s: %w", netlinkOf, err)
		}
		if protocol == unix.NETLINK_NETFILTER && port >= base && port < base+spread && groups&group != 0 {
			found = append(found, uint32(port))
		}
	}
	return found, lines.Err()
}

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

// ErrTaken means that another process guards the table.
var ErrTaken = errors.New("another process guards the firewall's table")

const (
	// base and spread are the range of a guard's netlink port.
	base   = 0x53500000
	spread = 1 << 20
	// group is NFNLGRP_NFTABLES, as a bit. The socket drops all messages:
	// another socket watches the table.
	group = 1 << (unix.NFNLGRP_NFTABLES - 1)

	maxBinds  = 16 // attempts to find a free port
	retryTime = 100 * time.Millisecond
	procFile  = "/proc/thread-self/net/netlink"
)

// Guard is the sign of this process.
type Guard struct{ fd int }

// Take opens the sign. While another process has one, Take waits until ctx
// ends, and then returns ErrTaken. It requires CAP_NET_ADMIN.
func Take(ctx context.Context) (*Guard, error) {
	for {
		g, err := try()
		if !errors.Is(err, ErrTaken) {
			return g, err
		}
		// Two processes that begin at the same time both close their signs, and
		// retry after different pauses.
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(retryTime/2 + rand.N(retryTime)):
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
	fd, ourPort, err := open()
	if err != nil {
		return nil, err
	}
	if others, err = ports(); err == nil {
		for _, p := range others {
			if p != ourPort {
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
	dropAll, err := bpf.RetConstant{Val: 0}.Assemble()
	if err != nil {
		return -1, 0, err
	}
	program := []unix.SockFilter{{Code: dropAll.Op, Jt: dropAll.Jt, Jf: dropAll.Jf, K: dropAll.K}}
	fprog := unix.SockFprog{Len: 1, Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return -1, 0, os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
	}
	for range maxBinds {
		port = base + rand.Uint32N(spread)
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port, Groups: group})
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if errors.Is(err, unix.EPERM) {
		return -1, 0, fmt.Errorf("guard the firewall's table: CAP_NET_ADMIN is required: %w", err)
	}
	return fd, port, os.NewSyscallError("bind", err)
}

// Close removes the sign.
func (g *Guard) Close() error { return os.NewSyscallError("close", unix.Close(g.fd)) }

// Alive reports whether some process of this network namespace guards the
// table. It requires no privilege.
func Alive() (bool, error) {
	found, err := ports()
	return len(found) > 0, err
}

// ports returns the netlink ports of all guards.
func ports() ([]uint32, error) {
	f, err := os.Open(procFile)
	if err != nil {
		return nil, fmt.Errorf("find the guard of the firewall's table: %w", err)
	}
	defer f.Close()
	return parse(f)
}

// parse parses a list of netlink sockets: after a line with the names of the
// columns, one line for each, of which the second to the fourth column are the
// protocol, the port, and the groups.
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
			return nil, fmt.Errorf("find the guard of the firewall's table: %s: %w", procFile, err)
		}
		if protocol == unix.NETLINK_NETFILTER && port >= base && port < base+spread && groups&group != 0 {
			found = append(found, uint32(port))
		}
	}
	return found, lines.Err()
}

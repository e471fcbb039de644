package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/gate/helper"
	"sallyport/sessions/gate/screen"
)

// helperVariable tells a program that it has been through shed: its value is
// the descriptors that lead to the helper, or nothing.
const helperVariable = "SALLYPORTD_HELPER"

// separate starts the helper, if the configuration needs one, and sheds every
// privilege of this process: it begins again as the same program and the same
// process, which then returns from here. Only a port below 1024 to listen on, and
// packets to capture, leave it the right to do that.
func separate(cfg config) (*helper.Client, error) {
	if fds, shed := os.LookupEnv(helperVariable); shed {
		os.Unsetenv(helperVariable)
		if fds == "" {
			return nil, nil
		}
		return reachHelper(fds, cfg.digest())
	}
	held, err := capabilities()
	if err != nil {
		return nil, err
	}
	if reason := cfg.needsFirewall(); reason != "" && held&(1<<unix.CAP_NET_ADMIN) == 0 {
		return nil, cli.Misuse(cli.WithHint(fmt.Errorf("%s takes CAP_NET_ADMIN, which this process does not have", reason),
			"start it as root, or with that capability alone: container/sallyportd.service and container/compose.firewall.yaml show how"))
	}
	who, err := becomes(cfg.user)
	if err != nil {
		return nil, err
	}
	var keep uint64
	if cfg.lowPort() {
		keep = held & (1 << unix.CAP_NET_BIND_SERVICE)
	}
	if cfg.challenge != nil && !cfg.challenge.sockets {
		if held&(1<<unix.CAP_NET_RAW) == 0 {
			return nil, cli.Misuse(cli.WithHint(errors.New("[challenge] with capture = \"packet\" takes CAP_NET_RAW, which this process does not have"),
				"start it as root or with that capability; or, with a range of ports below 1025, capture = \"sockets\""))
		}
		keep |= 1 << unix.CAP_NET_RAW
	}
	fds := ""
	if cfg.needsHelper() {
		if fds, err = startHelper(cfg.path); err != nil {
			return nil, fmt.Errorf("start the privileged helper: %w", err)
		}
	}
	return nil, shed(keep, who, append(os.Environ(), helperVariable+"="+fds))
}

// needsHelper reports whether anything has to be done to the firewall.
func (cfg config) needsHelper() bool { return cfg.needsFirewall() != "" }

// needsFirewall says what of the configuration takes the firewall; empty:
// nothing.
func (cfg config) needsFirewall() string {
	if cfg.stealth {
		return "stealth = true"
	}
	for _, s := range cfg.services {
		switch {
		case s.kind == "firewall":
			return fmt.Sprintf("service %s, of type \"firewall\",", s.name)
		case s.filtered && !s.udp && !screen.Allowed():
			return fmt.Sprintf("service %s, with look = \"filtered\", which this kernel lets nobody else have,", s.name)
		}
	}
	return ""
}

// lowPort reports whether something listens where it takes a privilege.
func (cfg config) lowPort() bool {
	first := 1024
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			first = n
		}
	}
	for _, s := range cfg.services {
		if s.kind != "firewall" && int(s.port()) < first {
			return true
		}
	}
	return cfg.challenge != nil && cfg.challenge.sockets && int(cfg.challenge.plan.Ports.First) < first
}

// identity is a user to become.
type identity struct{ uid, gid int }

// becomes finds the user of the configuration; nil: this process is it.
func becomes(name string) (*identity, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	var who identity
	if err == nil {
		who.uid, err = strconv.Atoi(u.Uid)
	}
	if err == nil {
		who.gid, err = strconv.Atoi(u.Gid)
	}
	// A number needs no entry in the list of users, which images often lack.
	if n, numeric := strconv.Atoi(name); err != nil && numeric == nil && n > 0 {
		who, err = identity{n, n}, nil
	}
	if err != nil {
		return nil, cli.Misuse(fmt.Errorf("user = %q: %w", name, err))
	}
	if who.uid == os.Geteuid() {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		return nil, cli.Misuse(cli.WithHint(fmt.Errorf("user = %q: only root can become another user", name), "start the server as root or as that user, or leave the key out"))
	}
	return &who, nil
}

// capabilities returns those that this process may use, a bit each.
func capabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read this process's capabilities: %w", err)
	}
	return uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32, nil
}

// netAdmin reports whether this process could change the firewall.
func netAdmin() bool { return holds(unix.CAP_NET_ADMIN) }

// netRaw reports whether this process could capture packets.
func netRaw() bool { return holds(unix.CAP_NET_RAW) }

func holds(capability int) bool {
	held, err := capabilities()
	return err == nil && held&(1<<capability) != 0
}

// shed has the process begin again as the same program, with no other
// capabilities than those to keep, no way to gain any, and as another user if
// one is given. It returns only when that fails.
func shed(keep uint64, who *identity, environment []string) error {
	// What a thread holds when it executes a program, the process has then.
	runtime.LockOSThread()
	step := func(what string, err error) error {
		if err != nil {
			return fmt.Errorf("shed privileges: %s: %w", what, err)
		}
		return nil
	}
	if err := step("PR_SET_NO_NEW_PRIVS", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); err != nil {
		return err
	}
	if who != nil {
		if err := step("PR_SET_KEEPCAPS", unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)); err != nil {
			return err
		}
		// Of this thread alone: the syscall package's functions are for all.
		for _, call := range []struct {
			name          string
			number        uintptr
			first, second uintptr
		}{
			{"setgroups", unix.SYS_SETGROUPS, 0, 0},
			{"setgid", unix.SYS_SETGID, uintptr(who.gid), 0},
			{"setuid", unix.SYS_SETUID, uintptr(who.uid), 0},
		} {
			if _, _, e := unix.RawSyscall(call.number, call.first, call.second, 0); e != 0 {
				return step(call.name, e)
			}
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	low, high := uint32(keep), uint32(keep>>32)
	data := [2]unix.CapUserData{{Effective: low, Permitted: low, Inheritable: low}, {Effective: high, Permitted: high, Inheritable: high}}
	if err := step("capset", unix.Capset(&header, &data[0])); err != nil {
		return err
	}
	if err := step("PR_CAP_AMBIENT_CLEAR_ALL", unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)); err != nil {
		return err
	}
	for c := range 64 {
		if keep&(1<<c) != 0 {
			if err := step("PR_CAP_AMBIENT_RAISE", unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0)); err != nil {
				return err
			}
		}
	}
	return step("execute", syscall.Exec("/proc/self/exe", os.Args, environment))
}

// startHelper starts the second process, waits for nothing, and returns the
// descriptors that lead to it, which the next program inherits.
func startHelper(config string) (fds string, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", os.NewSyscallError("socketpair", err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return "", os.NewSyscallError("pipe2", err)
	}
	theirs, lifeline := os.NewFile(uintptr(pair[1]), "helper"), os.NewFile(uintptr(pipe[1]), "lifeline")
	defer theirs.Close()
	defer lifeline.Close()
	cmd := exec.Command("/proc/self/exe", helperName, "-c", config)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs, lifeline}
	// A key at the terminal is for the server, which ends the helper in time.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	for _, fd := range []int{pair[0], pipe[0]} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return "", os.NewSyscallError("fcntl", err)
		}
	}
	return fmt.Sprintf("%d,%d", pair[0], pipe[0]), nil
}

// reachHelper takes over what startHelper has left, and waits for the helper.
func reachHelper(fds string, own helper.Digest) (*helper.Client, error) {
	var socket, lifeline int
	if _, err := fmt.Sscanf(fds, "%d,%d", &socket, &lifeline); err != nil {
		return nil, fmt.Errorf("%s = %q: %w", helperVariable, fds, err)
	}
	unix.CloseOnExec(socket)
	unix.CloseOnExec(lifeline)
	c, err := helper.NewClient(os.NewFile(uintptr(socket), "helper"), os.NewFile(uintptr(lifeline), "lifeline"), hostClock)
	if err != nil {
		return nil, err
	}
	if err := c.Ready(own); err != nil {
		return nil, cli.WithHint(fmt.Errorf("start the privileged helper: %w", err), "what it says itself stands above")
	}
	return c, nil
}

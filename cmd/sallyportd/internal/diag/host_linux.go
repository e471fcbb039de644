package diag

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctls are those that matter to the server, below /proc/sys.
var sysctls = []string{
	"net/core/rmem_max", "net/core/optmem_max", "net/core/netdev_max_backlog", "net/core/somaxconn", "net/core/bpf_jit_enable",
	"net/ipv4/ip_local_port_range", "net/ipv4/ip_local_reserved_ports", "net/ipv4/ip_unprivileged_port_start", "net/ipv4/ip_forward",
	"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/all/route_localnet", "net/ipv4/icmp_ratelimit", "net/ipv4/tcp_syncookies",
	"net/ipv6/bindv6only", "net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/all/forwarding", "net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_count",
	"kernel/unprivileged_bpf_disabled", "kernel/unprivileged_userns_clone", "kernel/yama/ptrace_scope", "fs/file-max", "fs/nr_open",
}

// modules are the kernel's modules that matter, by the begin of their names.
var modules = []string{"nf_", "nft_", "nfnetlink", "ip_tables", "ip6_tables", "iptable_", "ip6table_", "x_tables", "br_netfilter", "veth"}

// Host describes the kernel and the host, without names of the host, its users or its other
// programs.
func Host() (string, error) {
	var out strings.Builder
	var failed []error
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		failed = append(failed, err)
	}
	text := func(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }
	fmt.Fprintf(&out, "kernel: %s %s %s %s\n", text(name.Sysname[:]), text(name.Release[:]), text(name.Version[:]), text(name.Machine[:]))
	for line := range lines("/etc/os-release", &failed) {
		key, _, _ := strings.Cut(line, "=")
		if slices.Contains([]string{"ID", "ID_LIKE", "VERSION_ID", "PRETTY_NAME", "VARIANT_ID"}, key) {
			fmt.Fprintf(&out, "os: %s\n", line)
		}
	}
	for line := range lines("/proc/meminfo", &failed) {
		if strings.HasPrefix(line, "MemTotal:") || strings.HasPrefix(line, "MemAvailable:") {
			fmt.Fprintf(&out, "memory: %s\n", line)
		}
	}
	for _, one := range []string{"/sys/kernel/security/lsm", "/proc/sys/kernel/tainted", "/proc/loadavg", "/proc/pressure/cpu", "/sys/devices/system/cpu/online"} {
		if b, err := os.ReadFile(one); err == nil { // some kernels lack some
			fmt.Fprintf(&out, "%s: %s\n", one, strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "; "))
		}
	}
	for _, name := range sysctls {
		value := "not there"
		if b, err := os.ReadFile("/proc/sys/" + name); err == nil {
			value = strings.Join(strings.Fields(string(b)), " ")
		} else if !errors.Is(err, os.ErrNotExist) {
			value = err.Error()
		}
		fmt.Fprintf(&out, "sysctl: %s = %s\n", strings.ReplaceAll(name, "/", "."), value)
	}
	for line := range lines("/proc/modules", nil) {
		name, _, _ := strings.Cut(line, " ")
		if slices.ContainsFunc(modules, func(m string) bool { return strings.HasPrefix(name, m) }) {
			fmt.Fprintf(&out, "module: %s\n", name)
		}
	}
	return out.String(), errors.Join(failed...)
}

// statusLines are the lines of /proc/PID/status that matter.
var statusLines = []string{"State", "Threads", "NoNewPrivs", "Seccomp", "Seccomp_filters", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "VmPeak", "VmSize", "VmHWM", "VmRSS", "FDSize", "Uid", "Gid", "Cpus_allowed_list"}

// Process describes a process: its rights, its limits and what it uses. It reads neither
// its arguments nor its environment.
func Process(pid int) (string, error) {
	var out strings.Builder
	var failed []error
	at := "/proc/" + strconv.Itoa(pid) + "/"
	for line := range lines(at+"status", &failed) {
		if name, _, _ := strings.Cut(line, ":"); slices.Contains(statusLines, name) {
			fmt.Fprintln(&out, line)
		}
	}
	for line := range lines(at+"limits", &failed) {
		fmt.Fprintln(&out, "limit:", line)
	}
	for line := range lines(at+"cgroup", &failed) {
		fmt.Fprintln(&out, "cgroup:", line)
	}
	for line := range lines(at+"attr/current", nil) {
		fmt.Fprintln(&out, "security label:", strings.Trim(line, "\x00"))
	}
	open, err := os.ReadDir(at + "fd")
	if err != nil {
		failed = append(failed, err)
	} else {
		kinds := map[string]int{}
		for _, fd := range open {
			to, _ := os.Readlink(filepath.Join(at, "fd", fd.Name()))
			kind, _, _ := strings.Cut(to, ":")
			if strings.HasPrefix(kind, "/") {
				kind = "file"
			}
			kinds[kind]++
		}
		fmt.Fprintf(&out, "descriptors: %d %v\n", len(open), kinds)
	}
	return out.String(), errors.Join(failed...)
}

// lines returns the lines of a file. An error goes to failed, unless that is nil.
func lines(path string, failed *[]error) func(func(string) bool) {
	return func(yield func(string) bool) {
		b, err := os.ReadFile(path)
		if err != nil && failed != nil {
			*failed = append(*failed, err)
		}
		for line := range strings.Lines(string(b)) {
			if !yield(strings.TrimRight(line, "\n")) {
				return
			}
		}
	}
}

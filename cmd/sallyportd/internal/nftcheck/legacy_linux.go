package nftcheck

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Layouts of iptables-legacy: struct ipt_entry and struct ip6t_entry.
type legacyLayout struct {
	family                    byte
	names                     string // the list of tables
	domain, level             int
	addressLen                int
	interfaceAt, maskAt       int
	protocolAt, flagsAt       int
	targetAt, nextAt, entryAt int
}

var legacyLayouts = []legacyLayout{
	{unix.NFPROTO_IPV4, "/proc/thread-self/net/ip_tables_names", unix.AF_INET, unix.SOL_IP, 4, 16, 48, 80, 82, 88, 90, 112},
	{unix.NFPROTO_IPV6, "/proc/thread-self/net/ip6_tables_names", unix.AF_INET6, unix.SOL_IPV6, 16, 64, 96, 128, 131, 140, 142, 168},
}

// Layouts that both families share.
const (
	legacyInfo, legacyEntries   = 64, 65 // options: *_SO_GET_INFO, *_SO_GET_ENTRIES
	legacyInfoLen               = 84     // struct ipt_getinfo
	legacyTableName             = 32
	legacyEntriesAt             = 40 // of struct ipt_get_entries
	legacyPartHeader            = 32 // struct xt_entry_match and xt_entry_target
	legacyHooks                 = 5
	legacyReturn                = -5 // XT_RETURN
	legacyGoto                  = 2  // IPT_F_GOTO
	legacySizeMost, legacyTries = 64 << 20, 3
)

// legacyPriorities are the tables that may drop or redirect packets, with the
// priority of their chains.
var legacyPriorities = map[string]int32{"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}

var legacyHookNames = [legacyHooks]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// readLegacy adds the chains of iptables-legacy. A table that cannot be read is
// one of the parts that may do anything.
func (r *ruleset) readLegacy() {
	for _, l := range legacyLayouts {
		names, err := os.ReadFile(l.names)
		if err != nil {
			continue // the kernel has no iptables-legacy, or it was never used
		}
		for table := range strings.FieldsSeq(string(names)) {
			info, entries, err := l.dump(table)
			if err == nil {
				err = r.addLegacy(l, table, info, entries)
			}
			if err != nil {
				r.cannotRead("the table %s %s of iptables-legacy: %v", familyName(l.family), table, err)
			}
		}
	}
}

// dump reads a table's description and entries.
func (l legacyLayout) dump(table string) (info, entries []byte, err error) {
	fd, err := unix.Socket(l.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	for try := 1; ; try++ {
		info = make([]byte, legacyInfoLen)
		copy(info[:legacyTableName-1], table)
		if err := getOption(fd, l.level, legacyInfo, info); err != nil {
			return nil, nil, os.NewSyscallError("getsockopt", err)
		}
		size := nativeUint32(info[legacyInfoLen-4:])
		if size > legacySizeMost {
			return nil, nil, fmt.Errorf("it has %d bytes, which is too large", size)
		}
		all := make([]byte, legacyEntriesAt+int(size))
		copy(all[:legacyTableName-1], table)
		binary.NativeEndian.PutUint32(all[legacyTableName:], size)
		err := getOption(fd, l.level, legacyEntries, all)
		if err == nil {
			return info, all[legacyEntriesAt:], nil
		}
		if err != unix.EAGAIN || try == legacyTries { // the table has changed
			return nil, nil, os.NewSyscallError("getsockopt", err)
		}
	}
}

func getOption(fd, level, option int, b []byte) error {
	n := uint32(len(b))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return syscall.Errno(e)
	}
	return nil
}

package clock

import (
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// keepers are the programs that set the clock of a host, by the names that the kernel
// has of their processes, which are at most 15 bytes.
var keepers = map[string]string{
	"chronyd":         "chronyd",
	"systemd-timesyn": "systemd-timesyncd",
	"ntpd":            "ntpd",
	"ntp-daemon":      "ntpd-rs",
	"phc2sys":         "phc2sys",
	"ptp4l":           "ptp4l",
	"ptpd":            "ptpd",
	"htpdate":         "htpdate",
	"VBoxService":     "VBoxService",
}

// maxProcesses is how many processes Keepers looks at.
const maxProcesses = 1 << 15

// Keepers returns which programs keep the clock right, by the processes in proc, a /proc:
// those with the name of a time service that the kernel lets set the clock (CAP_SYS_TIME).
// The names are in ascending order, and none if no such program runs. nil: proc does not
// show all processes of the host, as in a container, so that the program is not known.
func Keepers(proc fs.FS) []string {
	if text(proc, "2/comm") != "kthreadd" { // a kernel's thread, which no container sees
		return nil
	}
	entries, err := fs.ReadDir(proc, ".")
	if err != nil {
		return nil
	}
	found, processes := []string{}, 0
	for _, e := range entries {
		if _, err := strconv.ParseUint(e.Name(), 10, 32); err != nil {
			continue
		}
		if processes++; processes > maxProcesses {
			break
		}
		name := keepers[text(proc, e.Name()+"/comm")]
		if name != "" && !slices.Contains(found, name) && setsTime(text(proc, e.Name()+"/status")) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// text returns a file without its last line end; empty: it cannot be read.
func text(proc fs.FS, name string) string {
	b, err := fs.ReadFile(proc, name)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}

// capSysTime is the bit of CAP_SYS_TIME.
const capSysTime = 25

// setsTime reports whether a process may set the clock, by its status in /proc. Others,
// such as chronyd -x, only compare it.
func setsTime(status string) bool {
	for line := range strings.Lines(status) {
		if held, is := strings.CutPrefix(line, "CapEff:"); is {
			bits, err := strconv.ParseUint(strings.TrimSpace(held), 16, 64)
			return err == nil && bits&(1<<capSysTime) != 0
		}
	}
	return false
}

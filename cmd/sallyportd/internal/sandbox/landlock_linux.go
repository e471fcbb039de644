package sandbox

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	kernel "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// errNoLandlock is wrapped by the error of takeFiles where there is no Landlock.
var errNoLandlock = errors.New("no Landlock here")

// newest is the version of landlock.V11.
const newest = 11

// The rights to what is in a directory. No right to execute is among them.
const (
	readRights    = kernel.AccessFSReadFile | kernel.AccessFSReadDir
	writeRights   = readRights | kernel.AccessFSWriteFile | kernel.AccessFSTruncate | kernel.AccessFSMakeReg | kernel.AccessFSMakeDir | kernel.AccessFSRemoveFile | kernel.AccessFSRemoveDir | bindRights
	bindRights    = kernel.AccessFSMakeSock | kernel.AccessFSRemoveFile | connectRights
	connectRights = kernel.AccessFSResolveUnix
	fileRights    = kernel.AccessFSReadFile | kernel.AccessFSWriteFile | kernel.AccessFSTruncate | kernel.AccessFSResolveUnix
)

// takeFiles takes all files away from all threads of this process, except for those that
// are open, and those of the profile. The socket of the journal stays: a log that begins
// again must reach it. It returns the version of Landlock.
//
// There are no rules for ports: Landlock knows TCP, and not MPTCP, by which Go listens, and
// a rule that other sockets pass by protects nothing.
func takeFiles(p Profile) (version int, left *Allowed, err error) {
	version, err = kernel.LandlockGetABIVersion()
	if err != nil { // also EPERM: the unit, or the container, forbids it
		return 0, nil, fmt.Errorf("%w: landlock_create_ruleset: %w", errNoLandlock, err)
	}
	time.Now().AppendFormat(nil, time.Kitchen) // reads the time zone, which the log needs
	var rules []landlock.Rule
	for _, path := range systemSockets() {
		rules = append(rules, rule(path, connectRights)...)
	}
	if !p.NoFiles {
		a := p.Files.withSystem().allowed()
		rules = append(rules, a.rules()...)
		for _, device := range devices {
			rules = append(rules, rule(device, kernel.AccessFSReadFile|kernel.AccessFSWriteFile)...)
		}
		left = &a
	}
	all := landlock.V11
	all.HandledAccessNet, all.Scoped = 0, p.scopes()
	if err := all.BestEffort().Restrict(rules...); err != nil {
		return 0, nil, fmt.Errorf("take files away: %w", err)
	}
	return min(version, newest), left, nil
}

func (a Allowed) rules() (list []landlock.Rule) {
	for _, of := range []struct {
		paths  []string
		rights landlock.AccessFSSet
	}{{a.Read, readRights}, {a.Write, writeRights}, {a.Bind, bindRights}, {a.Connect, connectRights}} {
		for _, path := range of.paths {
			list = append(list, rule(path, of.rights)...)
		}
	}
	return list
}

// rule returns a rule for a directory or a file, if this process can reach it.
func rule(path string, rights landlock.AccessFSSet) []landlock.Rule {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	if !info.IsDir() {
		rights &= fileRights
	}
	if rights == 0 {
		return nil
	}
	return []landlock.Rule{landlock.PathAccess(rights, path).IgnoreIfMissing()}
}

// scopes returns what else this process can no longer reach: processes, by signals, and
// sockets without a file.
func (p Profile) scopes() (s landlock.ScopedSet) {
	if !abstractManager() {
		s |= kernel.ScopeAbstractUnixSocket
	}
	if !p.Signals && ownSignals() {
		s |= kernel.ScopeSignal
	}
	return s
}

// ownSignals reports whether threads of a restricted process can still send signals to
// each other, as the Go runtime does: a defect of some kernels prevents it.
func ownSignals() bool {
	const second = 1 << 1
	mended, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_ERRATA)
	return e == 0 && mended&second != 0
}

package sandbox

import (
	"errors"
	"fmt"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	kernel "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// journalDir is the directory of logsink.DefaultJournal.
const journalDir = "/run/systemd/journal"

// errNoLandlock is wrapped by the error of takeFiles where there is no Landlock.
var errNoLandlock = errors.New("no Landlock here")

// takeFiles takes all files away from all threads of this process, except for those that
// are open. The socket of the journal stays: a log that begins again must reach it.
func takeFiles() error {
	if _, err := kernel.LandlockGetABIVersion(); err != nil { // also EPERM: the unit, or the container, forbids it
		return fmt.Errorf("%w: landlock_create_ruleset: %w", errNoLandlock, err)
	}
	time.Now().AppendFormat(nil, time.Kitchen) // reads the time zone, which the log needs
	journal := landlock.PathAccess(kernel.AccessFSResolveUnix, journalDir).IgnoreIfMissing()
	if err := landlock.V11.BestEffort().RestrictPaths(journal); err != nil {
		return fmt.Errorf("take files away: %w", err)
	}
	return nil
}

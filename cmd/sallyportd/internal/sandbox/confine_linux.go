package sandbox

import (
	"errors"
	"log/slog"

	"golang.org/x/sys/unix"
)

// Confine applies a profile, and returns what is in force. Where there is no Landlock, or
// no filter, it logs a warning, and the process goes on without. Landlock comes first: the
// filter then forbids its calls.
func Confine(p Profile, log *slog.Logger) (r Report, err error) {
	r.Process = p.Name
	r.Landlock, r.Files, err = takeFiles(p)
	if errors.Is(err, errNoLandlock) {
		log.Warn("files not restricted", "error", err, "hint", "use a kernel with CONFIG_SECURITY_LANDLOCK, and landlock in its list of security modules; a unit or a container must allow landlock_create_ruleset(2)")
	} else if err != nil {
		return r, err
	}
	err = p.Apply()
	r.Seccomp = err == nil
	if errors.Is(err, ErrUnsupported) {
		log.Warn("system calls not restricted", "error", err, "hint", "use a kernel with CONFIG_SECCOMP_FILTER, on amd64 or arm64; a unit or a container must allow seccomp(2)")
		err = nil
	}
	stays, failed := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	r.NoNewPrivs = failed == nil && stays == 1
	return r, err
}

package sandbox

import (
	"errors"
	"log/slog"
)

// Confine applies a profile. Where there is no Landlock, or no filter, it logs a warning,
// and the process goes on without. Landlock comes first: the filter then forbids its
// calls.
func Confine(p Profile, log *slog.Logger) error {
	if p.NoFiles {
		err := takeFiles()
		if errors.Is(err, errNoLandlock) {
			log.Warn("files not restricted", "error", err, "hint", "use a kernel with CONFIG_SECURITY_LANDLOCK, and landlock in its list of security modules; a unit or a container must allow landlock_create_ruleset(2)")
		} else if err != nil {
			return err
		}
	}
	err := p.Apply()
	if errors.Is(err, ErrUnsupported) {
		log.Warn("system calls not restricted", "error", err, "hint", "use a kernel with CONFIG_SECCOMP_FILTER, on amd64 or arm64; a unit or a container must allow seccomp(2)")
		return nil
	}
	return err
}

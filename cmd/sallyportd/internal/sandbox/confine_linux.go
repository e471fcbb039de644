package sandbox

import (
	"errors"
	"log/slog"
)

// Confine applies a profile. Where there is no filter, it logs a warning, and the
// process goes on without.
func Confine(p Profile, log *slog.Logger) error {
	err := p.Apply()
	if errors.Is(err, ErrUnsupported) {
		log.Warn("system calls not restricted", "error", err, "hint", "use a kernel with CONFIG_SECCOMP_FILTER, on amd64 or arm64; a unit or a container must allow seccomp(2)")
		return nil
	}
	return err
}

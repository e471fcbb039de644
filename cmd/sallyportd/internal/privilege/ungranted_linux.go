package privilege

import (
	"os"

	"golang.org/x/sys/unix"
)

// ungranted returns a hint if a capability is allowed to this process, and it does not have
// it, as in a container with --cap-add and without root; empty: that is not the case.
func ungranted(capability int) string {
	if os.Geteuid() == 0 {
		return ""
	}
	allowed, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(capability), 0, 0, 0)
	if err != nil || allowed != 1 {
		return ""
	}
	stays, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err == nil && stays == 1 {
		return "the capability is allowed, but no_new_privs is set (in Docker: --security-opt no-new-privileges), so that only root can have it: " +
			"remove that option, since the server sets no_new_privs itself; or start it as root; or "
	}
	return "the capability is allowed, but a process without root gets it only from its file (in the image: by the entrypoint), or from systemd (AmbientCapabilities=): "
}

package durable

import "golang.org/x/sys/unix"

// isMountPoint reports whether a file is the root of a mount. Before Linux 5.8 it
// returns false, and the rename fails.
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// isMountPoint reports whether a file is the root of a mount. Before Linux 5.8 it
// returns false, and the rename fails.
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// aclName is the attribute with an access control list (acl(5)).
const aclName = "system.posix_acl_access"

// keepList gives a new file the access control list of another file, if that has
// one. The group bits of a mode are the mask of the list.
func keepList(f *os.File, like string, mode os.FileMode) {
	if mode&0o070 == 0 {
		return
	}
	list := make([]byte, 1<<16) // the kernel's limit of an attribute
	if n, err := unix.Getxattr(like, aclName, list); err == nil {
		unix.Fsetxattr(int(f.Fd()), aclName, list[:n], 0)
	}
}

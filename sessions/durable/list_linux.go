package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

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

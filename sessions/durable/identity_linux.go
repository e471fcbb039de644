package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// IdentityOf returns the Identity of an open file.
func IdentityOf(f *os.File) (id Identity, err error) {
	var st unix.Statx_t
	err = unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st)
	if err != nil {
		return id, os.NewSyscallError("statx", err)
	}
	id.Inode = st.Ino
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return id, nil
}

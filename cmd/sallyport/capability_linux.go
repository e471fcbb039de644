package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropNetAdmin drops CAP_NET_ADMIN, which only the connection of a profile with
// bind = "isn" requires. A build with cgo keeps it, because there the runtime cannot
// change all threads: the releases are built without cgo.
func dropNetAdmin() {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	const bit = uint32(1) << unix.CAP_NET_ADMIN
	if unix.Capget(&header, &data[0]) != nil || data[0].Permitted&bit == 0 {
		return
	}
	data[0].Effective &^= bit
	data[0].Permitted &^= bit
	data[0].Inheritable &^= bit
	syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
}

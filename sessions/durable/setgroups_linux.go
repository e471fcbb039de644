//go:build !386 && !arm

package durable

import "golang.org/x/sys/unix"

// sysSetgroups is the system call for groups of 32 bits (setgroups(2)).
const sysSetgroups = unix.SYS_SETGROUPS

//go:build 386 || arm

package durable

import "golang.org/x/sys/unix"

// sysSetgroups is the system call for groups of 32 bits. The one without a number in its
// name is for groups of 16 bits here.
const sysSetgroups = unix.SYS_SETGROUPS32

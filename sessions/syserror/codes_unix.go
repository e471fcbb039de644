//go:build !windows

package syserror

import "syscall"

var numbers = [codeCount][]syscall.Errno{
	Reset:        {syscall.ECONNRESET},
	Broken:       {syscall.EPIPE},
	Refused:      {syscall.ECONNREFUSED},
	NoPort:       {syscall.ECONNREFUSED},
	NoRoute:      {syscall.EHOSTUNREACH, syscall.ENETUNREACH},
	TimedOut:     {syscall.ETIMEDOUT},
	Forbidden:    {syscall.EPERM, syscall.EACCES},
	InUse:        {syscall.EADDRINUSE},
	NotAvailable: {syscall.EADDRNOTAVAIL},
	DiskFull:     {syscall.ENOSPC, syscall.EDQUOT},
	ReadOnly:     {syscall.EROFS},
}

package syserror

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// Source: "Windows Sockets Error Codes" and "System Error Codes" of the Windows
// documentation. Package net turns the reports of ICMP errors off for its UDP sockets
// (SIO_UDP_CONNRESET), so NoPort comes only from a socket on which a program has turned
// them on.
var numbers = [codeCount][]syscall.Errno{
	Reset:        {windows.WSAECONNRESET},
	Broken:       {windows.WSAECONNABORTED, windows.WSAESHUTDOWN, windows.ERROR_BROKEN_PIPE, windows.ERROR_NO_DATA},
	Refused:      {windows.WSAECONNREFUSED},
	NoPort:       {windows.WSAECONNRESET}, // an answer to an earlier datagram: recvfrom, remarks
	NoRoute:      {windows.WSAEHOSTUNREACH, windows.WSAENETUNREACH},
	TimedOut:     {windows.WSAETIMEDOUT},
	Forbidden:    {windows.WSAEACCES, windows.ERROR_ACCESS_DENIED},
	InUse:        {windows.WSAEADDRINUSE},
	NotAvailable: {windows.WSAEADDRNOTAVAIL},
	DiskFull:     {windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.WSAEDQUOT},
	ReadOnly:     {windows.ERROR_WRITE_PROTECT},
}

//go:build unix

package passphrase

import (
	"os"
	"syscall"
)

func openTerminal() (console, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	return console{f, f}, err
}

func closeOnExec(fd int) { syscall.CloseOnExec(fd) }

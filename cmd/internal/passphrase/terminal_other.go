//go:build !unix

package passphrase

import "os"

func openTerminal() (c console, err error) {
	if c.in, err = os.OpenFile("CONIN$", os.O_RDWR, 0); err != nil {
		return c, err
	}
	if c.out, err = os.OpenFile("CONOUT$", os.O_RDWR, 0); err != nil {
		c.in.Close()
	}
	return c, err
}

// closeOnExec does nothing: programs get only the handles that they are given.
func closeOnExec(int) {}

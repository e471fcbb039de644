package runner

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/program"
)

// seals are those of a policy: no process can change it.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// PolicyFile returns the programs in the form in which a runner inherits them: a file
// without a name, which no process can change.
func PolicyFile(programs []program.Program) (*os.File, error) {
	f, err := memoryFile("policy", encode(programs))
	if err != nil {
		return nil, fmt.Errorf("pass the programs: %w", err)
	}
	return f, nil
}

// memoryFile returns a sealed file with this content.
func memoryFile(name string, content []byte) (_ *os.File, err error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(content); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadPolicy returns the programs that PolicyFile has written, and leaves the
// descriptor as it is.
func ReadPolicy(fd int) ([]program.Program, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("read the programs: %w", err)
	}
	f := os.NewFile(uintptr(own), "policy")
	defer f.Close()
	has, err := unix.FcntlInt(uintptr(own), unix.F_GET_SEALS, 0)
	if err != nil || has != seals {
		return nil, errors.New("read the programs: expected a sealed file")
	}
	return readPolicy(io.NewSectionReader(f, 0, maxPolicy+1))
}

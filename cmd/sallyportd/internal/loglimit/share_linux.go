package loglimit

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// shareVariable has the descriptor of the page that a process inherits.
	shareVariable = "SALLYPORTD_LOG_BUDGET"
	// shareDescriptor is the lowest number that it has: os/exec puts the files of a
	// process at the lowest ones.
	shareDescriptor = 300
	shareSize       = 4096
	shareSeals      = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
)

// share opens the page once.
var share = sync.OnceValue(func() *page {
	if p := inherit(); p != nil {
		return p
	}
	if p, err := makePage(); err == nil {
		return p
	}
	return new(page) // of this process only
})

// SharedBudget returns the budget of this process and of all that it starts, unless it was
// started by one that has called this function: then the budget is that of both. Holder: the
// process also has slots that no other can use.
func SharedBudget(holder bool) *Budget {
	b := &Budget{shared: share(), now: func() int64 {
		var ts unix.Timespec
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
		return ts.Nano()
	}}
	if holder {
		b.own = make([]atomic.Int64, ownSlots)
	}
	return b
}

// inherit returns the page that this process inherits, or nil. No other program inherits
// it from this process.
func inherit() *page {
	text := os.Getenv(shareVariable)
	os.Unsetenv(shareVariable)
	fd, err := strconv.Atoi(text)
	if err != nil || fd < shareDescriptor {
		return nil
	}
	// Any program can set a variable: the file must be one that cannot shrink.
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	var st unix.Stat_t
	if err != nil || seals&shareSeals != shareSeals || unix.Fstat(fd, &st) != nil || st.Size != shareSize {
		return nil
	}
	defer unix.Close(fd)
	p, err := mapPage(fd)
	if err != nil {
		return nil
	}
	return p
}

// makePage returns a new page, which the processes that this one starts inherit.
func makePage() (*page, error) {
	fd, err := unix.MemfdCreate("sallyportd-log", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, shareSize); err != nil {
		return nil, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, shareSeals); err != nil {
		return nil, err
	}
	p, err := mapPage(fd)
	if err != nil {
		return nil, err
	}
	passed, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, shareDescriptor)
	if err != nil {
		return nil, err
	}
	return p, os.Setenv(shareVariable, strconv.Itoa(passed))
}

func mapPage(fd int) (*page, error) {
	b, err := unix.Mmap(fd, 0, shareSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*page)(unsafe.Pointer(&b[0])), nil
}

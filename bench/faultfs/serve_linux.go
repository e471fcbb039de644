package faultfs

import "syscall"

// serving marks the environment of the process that serves a file system. It
// cannot be the test's: one thread of it that waits for a page of a mapped
// file would wait for itself.
const serving = "SALLYPORT_TEST_FAULTFS"

type request struct {
	Arm    string // the name of a directory
	Fail   int
	Errno  syscall.Errno
	Images string // a directory to write them to
}

type answer struct {
	Count int
	Error string
}

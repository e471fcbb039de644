package faultfs

import "syscall"

// serving is the environment variable of the process that serves a file system,
// with its path. The test's process cannot serve it: a thread that waits for a
// page of a mapped file would wait for its own process.
const serving = "SALLYPORT_TEST_FAULTFS"

type request struct {
	Arm    string // the name of a directory
	Fail   int
	Errno  syscall.Errno
	Images string // the directory to write the images to
}

type answer struct {
	Count int
	Error string
}

package durable

// Identity identifies a file on its file system. A file has it for as long as it
// exists, also under another name and after a restart of the host. A copy of the file,
// also one that a backup has restored, has another one.
type Identity struct {
	Inode uint64
	// Born is when the file was made, in nanoseconds of Unix time. No program can set
	// it. 0: the file system does not record it.
	Born int64
}

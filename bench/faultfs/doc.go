// Package faultfs gives tests a file system whose k-th change fails, and which
// makes images of the data that a power failure after each change would leave.
//
//	Start   mounts one, served by a separate process
//	Arm     counts changes from here on; the k-th one fails
//	Images  the content of the disk if the power had failed after each change
//
// A change is anything that a crash can lose: a write, a new size, a sync, a
// new or removed name, a rename. The content of a file is durable once the file
// is synced, and a name once its directory is. If a sync fails, its data stays
// visible, but no later sync makes it durable, as with Linux's page cache. An
// image has none of the data that was never synced, or a random part of it, or
// all of it: the last is the result of a killed process, not of a power failure.
//
// Linux only; requires /dev/fuse.
package faultfs

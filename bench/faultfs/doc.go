// Package faultfs gives tests a file system whose k-th change fails, and which
// tells what a power failure would have left at every moment.
//
//	Start   mounts one, served by a process of its own
//	Arm     from here on changes are counted, and the k-th fails
//	Images  what a disk would hold if the power had failed after each change
//
// A change is anything that a crash can lose: a write, a new size, a sync, a
// new or removed name, a rename. A file's content is durable once it is synced,
// and a name once its directory is. A sync that fails loses what it was for:
// it stays visible, but no later sync makes it durable, as with Linux's page
// cache. Of what was never synced an image holds nothing, a random part, or
// all: as if not the power had failed, but the process been killed.
//
// Linux only; needs /dev/fuse.
package faultfs

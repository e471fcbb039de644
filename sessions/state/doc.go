// Package state keeps on disk which nonces were used, so that none is good
// twice, whatever ends the process.
//
//	sessions.Entry -> Record   strict: durable when it returns
//	                           relaxed: durable within 100 ms
//	Open    reads the whole file and trusts nothing: sound, or refused
//	Reset   a new file with what is still readable of a damaged one
//
// The file is a bbolt database with one bucket; format.go says what is in it.
// bbolt gives transactions that survive a crash, but trusts what it reads:
// pages have no checksum, and a damaged file can make it panic, loop, or go
// back one transaction. So a file is read by pages.go first, which checks all
// of it, and bbolt opens only what has passed.
//
// A sync that failed may have lost what it was for while the page cache still
// shows it, so the file is then never written again: the next Record writes
// another one and puts it in its place.
package state

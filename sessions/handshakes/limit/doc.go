// Package limit limits the challenges that a server sends before it has verified
// anything: a Rate for all requests, and a Reserve, in addition, for the addresses of
// clients that have proved an operation before. Both belong to one goroutine, or to
// several that take turns under a lock. Their memory is allocated when they are made.
package limit

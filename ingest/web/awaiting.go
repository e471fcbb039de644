package web

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"
)

// awaiting returns the request and the answer of a connection for a handler: while they
// wait for the client, and once the handler has taken the connection over, it is not busy.
// Otherwise clients that send, or read, nothing would keep their places, and others would
// lose theirs.
func awaiting(w http.ResponseWriter, r *http.Request, open *connections, c net.Conn) (http.ResponseWriter, *http.Request) {
	if r.ContentLength != 0 {
		with := *r // net/http looks at the type of the request's own body
		with.Body = awaitedBody{r.Body, open, c}
		r = &with
	}
	return awaitedWriter{w, open, c, r.ProtoMajor == 2}, r
}

type awaitedBody struct {
	io.ReadCloser
	open *connections
	c    net.Conn
}

func (b awaitedBody) Read(p []byte) (int, error) {
	b.open.touch(b.c, -1)
	defer b.open.touch(b.c, 1)
	return b.ReadCloser.Read(p)
}

type awaitedWriter struct {
	http.ResponseWriter
	open   *connections
	c      net.Conn
	stream bool // of a connection of HTTP/2, on which boundedConn.Write does not wait for it
}

// begin begins to wait for the client, for at most writeTime.
func (w awaitedWriter) begin() (end func()) {
	w.open.touch(w.c, -1)
	w.until(time.Now().Add(writeTime))
	return func() {
		w.until(time.Time{}) // the next part of the answer may be long in coming
		w.open.touch(w.c, 1)
	}
}

func (w awaitedWriter) until(end time.Time) {
	if w.stream {
		http.NewResponseController(w.ResponseWriter).SetWriteDeadline(end)
	}
}

// Unwrap is for http.ResponseController.
func (w awaitedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w awaitedWriter) Write(p []byte) (int, error) {
	defer w.begin()()
	return w.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController.
func (w awaitedWriter) FlushError() error {
	defer w.begin()()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w awaitedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.open.touch(w.c, -1)
	}
	return c, rw, err
}

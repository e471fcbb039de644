package web

import (
	"bufio"
	"io"
	"net"
	"net/http"
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
	return awaitedWriter{w, open, c}, r
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
	open *connections
	c    net.Conn
}

// Unwrap is for http.ResponseController.
func (w awaitedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w awaitedWriter) Write(p []byte) (int, error) {
	w.open.touch(w.c, -1)
	defer w.open.touch(w.c, 1)
	return w.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController.
func (w awaitedWriter) FlushError() error {
	w.open.touch(w.c, -1)
	defer w.open.touch(w.c, 1)
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

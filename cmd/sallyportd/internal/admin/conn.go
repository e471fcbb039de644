package admin

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/durable"
	"sallyport/sessions/socketpath"
)

// Bounds of what a command reads: the process that answers at the socket may be
// another one than the server.
const (
	maxAnswer = 64 << 10  // a response, or a line of one that does not end
	maxState  = 512 << 20 // the state file
)

// Conn sends requests to the server whose admin socket is at a path.
type Conn struct {
	Socket string

	stateLimit int // 0: maxState
}

// RefusedError is the server's reason for rejecting a request.
type RefusedError struct {
	text      string
	hint      string
	unchanged bool // the old settings are in force
	status    int  // of HTTP
}

func (e *RefusedError) Error() string { return e.text }

// Hint returns what to do, according to the server; empty: nothing in particular.
func (e *RefusedError) Hint() string { return e.hint }

// UnreachableError means that no server answers at the socket.
type UnreachableError struct {
	socket string
	err    error
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("reach the server: %v", e.err) }
func (e *UnreachableError) Unwrap() error { return e.err }

// Stopped reports whether it is certain that no server runs.
func (e *UnreachableError) Stopped() bool {
	return errors.Is(e.err, syscall.ECONNREFUSED) || errors.Is(e.err, fs.ErrNotExist)
}

// Hint returns what to check.
func (e *UnreachableError) Hint() string {
	var long *socketpath.TooLongError
	if errors.As(e.err, &long) {
		return long.Hint()
	}
	return "check that the server runs, with this configuration and as this user; its admin socket is " + e.socket
}

// Running reports whether a server answers at an admin socket.
func Running(socket string) bool {
	running, _ := dial(socket)
	return running
}

// dial reports whether a server answers. If it returns false and no error, it is
// certain that none does.
func dial(socket string) (running bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	c, err := dialSocket(ctx, socket)
	if err == nil {
		return true, c.Close()
	}
	if e := (&UnreachableError{socket, err}); e.Stopped() {
		return false, nil
	}
	return false, err
}

// dialSocket connects to a socket with at most the rights of the owner of its
// directory: that user could have replaced it by a link to another socket.
func dialSocket(ctx context.Context, socket string) (c net.Conn, err error) {
	err = durable.AsOwner(socket, func(path string) error {
		return socketpath.Use(path, func(short string) error {
			c, err = new(net.Dialer).DialContext(ctx, "unix", short)
			return err
		})
	})
	return c, err
}

// Reload makes the server read all its files again. When it returns nil, their
// content is in force.
func (c Conn) Reload(ctx context.Context) (Reloaded, error) { return c.change(ctx, "/reload") }

// ReloadClients is Reload for the clients file only.
func (c Conn) ReloadClients(ctx context.Context) (Reloaded, error) {
	return c.change(ctx, "/reload/clients")
}

func (c Conn) change(ctx context.Context, path string) (Reloaded, error) {
	return c.changeBy(ctx, path, nil)
}

func (c Conn) changeBy(ctx context.Context, path string, asked any) (done Reloaded, err error) {
	err = c.askJSON(ctx, http.MethodPost, path, asked, maxAnswer, &done)
	var refused *RefusedError
	if errors.As(err, &refused) && refused.unchanged {
		return done, fmt.Errorf("the server rejected the change, and keeps its old settings: %w", refused)
	}
	return done, err
}

// Waiting returns why services stay closed even for clients with a lease, and why
// listeners for exchanges over HTTP and DNS are not bound, by their names.
func (c Conn) Waiting(ctx context.Context) (waiting map[string]string, err error) {
	err = c.askJSON(ctx, http.MethodGet, "/waiting", nil, maxAnswer, &waiting)
	return waiting, err
}

// State reads a copy of the state file.
func (c Conn) State(ctx context.Context) ([]byte, error) {
	body, err := c.ask(ctx, http.MethodGet, "/state", nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	limit := cmp.Or(c.stateLimit, maxState)
	copied, err := io.ReadAll(io.LimitReader(body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read the server's copy: %w", err)
	}
	if len(copied) > limit {
		return nil, fmt.Errorf("read the server's copy: expected a state file of up to %d bytes, got more", limit)
	}
	return copied, nil
}

// Watch calls f with each grant as it takes effect, until ctx ends, f fails, or
// the server stops. It calls watching when it has begun.
func (c Conn) Watch(ctx context.Context, watching func(), f func(Grant) error) error {
	body, err := c.ask(ctx, http.MethodGet, "/grants", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	watching()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		var g Grant
		if err := json.Unmarshal(lines.Bytes(), &g); err != nil && ctx.Err() == nil {
			if !strings.HasSuffix(lines.Text(), "}") {
				break // truncated
			}
			return fmt.Errorf("read the server's answer: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := f(g); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil, errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the server has stopped")
	default:
		return fmt.Errorf("read the server's answer: %w", err)
	}
}

// askJSON sends a request with a value as JSON, or nil, and reads a response of at most
// limit bytes.
func (c Conn) askJSON(ctx context.Context, method, path string, asked any, limit int64, done any) error {
	var request io.Reader
	if asked != nil {
		text, err := json.Marshal(asked)
		if err != nil {
			return err
		}
		request = bytes.NewReader(text)
	}
	body, err := c.ask(ctx, method, path, request)
	if err != nil {
		return err
	}
	defer body.Close()
	limited := &io.LimitedReader{R: body, N: limit}
	err = json.NewDecoder(limited).Decode(done)
	if err != nil && limited.N == 0 {
		err = fmt.Errorf("expected at most %d bytes, got more", limit)
	}
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// ask sends a request to the server. The caller must close the response.
func (c Conn) ask(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	client := http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:     true,
			ResponseHeaderTimeout: Timeout,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialSocket(ctx, c.Socket)
			},
		},
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://sallyportd"+path, body)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, &UnreachableError{c.Socket, hint.Cause(err)}
	}
	if response.StatusCode/100 == 2 {
		return response.Body, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	todo, _ := url.PathUnescape(response.Header.Get(hintHeader))
	return nil, &RefusedError{errorText(text), todo, response.StatusCode == http.StatusUnprocessableEntity, response.StatusCode}
}
